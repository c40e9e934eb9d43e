package integration

import (
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/catena-cni/catena/integration/node"
)

// conf is a plugin's configuration, less what all have.
type conf map[string]any

var leased = conf{"type": "host-local", "subnet": "10.1.0.0/24", "routes": []conf{{"dst": "0.0.0.0/0"}}}

var plain = conf{"type": "ptp", "ipam": leased}

// faulted are configurations of the plugins that speak to the kernel; those that have no ipam are behind ptp.
var faulted = map[string]conf{
	"bridge":          {"type": "bridge", "bridge": "br0", "isGateway": true, "ipMasq": true, "ipam": leased},
	"bridge-iptables": {"type": "bridge", "bridge": "br0", "isGateway": true, "ipMasq": true, "ipMasqBackend": "iptables", "ipam": leased},
	"bridge-guarded":  {"type": "bridge", "bridge": "br0", "macspoofchk": true, "ipam": leased},
	"ptp":             {"type": "ptp", "ipMasq": true, "ipam": leased},
	"macvlan":         {"type": "macvlan", "master": "uplink", "ipam": leased},
	"tap":             {"type": "tap", "ipam": leased},
	"host-device":     {"type": "host-device", "device": "dev0", "ipam": leased},
	"loopback":        {"type": "loopback"},
	"portmap": {"type": "portmap", "runtimeConfig": conf{
		"portMappings": []conf{{"hostPort": 8080, "containerPort": 80, "protocol": "tcp"}}}},
	"firewall":  {"type": "firewall"},
	"bandwidth": {"type": "bandwidth", "ingressRate": 1e6, "ingressBurst": 1e6, "egressRate": 1e6, "egressBurst": 1e6},
	"sbr":       {"type": "sbr"},
	"tuning":    {"type": "tuning", "mac": "02:00:00:00:11:22", "promisc": true, "mtu": 1400, "sysctl": conf{"net.core.somaxconn": "500"}},
}

// patient is a pod whose plugins are called one by one, each with a fault at one of its system calls.
type patient struct {
	t      *testing.T
	n      *node.Node
	pod    *node.Pod
	before string
}

func newPatient(t *testing.T) *patient {
	n := newNode(t)
	p := &patient{t: t, n: n, pod: newPod(t, n, "p")}
	_, err := n.RunWith(nil, `link add br1 type bridge
link add dev0 type veth peer name dev1
link set dev0 master br1 up
link set dev1 up
`, "ip", "-batch", "-")
	must(t, err)
	return p
}

// call runs a verb with one fault as strace has it, such as recvfrom:error=ENOBUFS:when=3, or without. It says how often
// there was one.
func (p *patient) call(verb string, c conf, prev any, fault string) (result any, faults int, err error) {
	p.t.Helper()
	whole := maps.Clone(c)
	whole["cniVersion"], whole["name"] = "1.0.0", "n"
	if prev != nil {
		whole["prevResult"] = prev
	}
	if verb == "GC" {
		whole["cniVersion"], whole["cni.dev/valid-attachments"] = "1.1.0", []conf{}
	}
	text, err := json.Marshal(whole)
	must(p.t, err)
	env := []string{
		"CNI_COMMAND=" + verb, "CNI_CONTAINERID=c", "CNI_IFNAME=eth0", "CNI_NETNS=" + p.pod.Path, "CNI_PATH=" + plugins,
		"GOMAXPROCS=1", // strace counts for each thread
	}
	command, trace := []string{filepath.Join(plugins, c["type"].(string))}, filepath.Join(p.t.TempDir(), "trace")
	if fault != "" {
		of, _, _ := strings.Cut(fault, ":")
		command = append([]string{"strace", "-f", "-qq", "-b", "execve", "-o", trace, "-e", "trace=" + of, "-e", "inject=" + fault}, command...)
	}
	out, err := p.n.RunWith(env, string(text), command[0], command[1:]...)
	if fault != "" {
		said, _ := os.ReadFile(trace)
		faults = strings.Count(string(said), "(INJECTED)")
	}
	if err == nil && out != "" {
		must(p.t, json.Unmarshal([]byte(out), &result))
	}
	return result, faults, err
}

func (p *patient) text() string {
	p.t.Helper()
	pod, err := p.pod.Text()
	must(p.t, err)
	return text(p.t, p.n) + "in the pod:\n" + pod
}

// left fails the test for what is there and was not before, or the other way round.
func (p *patient) left(when string, err error) {
	p.t.Helper()
	if _, left := node.Left(p.before, p.text(), "br0"); len(left) > 0 {
		p.t.Errorf("%s: left behind:\n%s\n%v", when, strings.Join(left, "\n"), err)
	}
}

// TestFaults: whichever of the kernel's answers a plugin does not get, and whichever file it cannot open, an ADD that
// fails leaves nothing, a DEL that succeeds has left nothing, and what a DEL that fails leaves goes with the next one.
func TestFaults(t *testing.T) {
	for name, c := range faulted {
		t.Run(name, func(t *testing.T) {
			p := newPatient(t)
			var prev any
			if _, first := c["ipam"]; !first && name != "loopback" {
				var err error
				prev, _, err = p.call("ADD", plain, nil, "")
				must(t, err)
			}
			// Once before, for what pods share.
			result, _, err := p.call("ADD", c, prev, "")
			must(t, err)
			_, _, err = p.call("DEL", c, result, "")
			must(t, err)
			p.before = p.text()
			kinds := []string{"recvfrom:error=ENOBUFS"}
			if slices.Contains([]string{"tap", "tuning", "host-device"}, name) { // where most is said by files
				kinds = append(kinds, "openat:error=EMFILE")
			}
			for _, kind := range kinds {
				adds, failed := p.adds(c, prev, kind)
				dels := p.dels(c, prev, kind)
				t.Logf("%s: at %d calls of ADD, which failed at %d of them, and at %d of DEL", kind, adds, failed, dels)
				// Most files are looked at for a courtesy, and what strace counts for each thread may be these alone.
				if adds == 0 || failed == 0 && kind == kinds[0] {
					t.Errorf("%s came to nothing", kind)
				}
			}
		})
	}
}

// blaming are errors with a code of the configuration, or of what is there already.
var blaming = regexp.MustCompile(`"code": ?([12378]|101)\b`)

// adds has a fault in an ADD at each of the calls in turn, and ends with an ADD in which there is none.
func (p *patient) adds(c conf, prev any, kind string) (n, failed int) {
	for ; ; n++ {
		fault := fmt.Sprintf("%s:when=%d", kind, n+1)
		result, faults, err := p.call("ADD", c, prev, fault)
		if err != nil {
			failed++
			result = prev
			if blaming.MatchString(err.Error()) || strings.Contains(err.Error(), "exists") {
				p.t.Errorf("ADD with %s blames the configuration, or somebody else: %v", fault, err)
			}
		}
		if err != nil && faults == 1 { // another thread may have had one too
			p.left("ADD with "+fault, err)
		}
		_, _, derr := p.call("DEL", c, result, "")
		must(p.t, derr)
		p.left("DEL after an ADD with "+fault, err)
		if faults == 0 {
			return n, failed
		}
	}
}

// dels is the same for DEL.
func (p *patient) dels(c conf, prev any, kind string) (n int) {
	for ; ; n++ {
		result, _, err := p.call("ADD", c, prev, "")
		must(p.t, err)
		fault := fmt.Sprintf("%s:when=%d", kind, n+1)
		_, faults, err := p.call("DEL", c, result, fault)
		if err == nil && !strings.Contains(p.text(), "/catena/nft/pending/") {
			p.left("DEL that succeeded with "+fault, nil)
		}
		_, _, derr := p.call("DEL", c, result, "")
		must(p.t, derr)
		p.left("DEL after one with "+fault, err)
		if faults == 0 {
			return n
		}
	}
}

// TestKilledInADD: whichever of its messages an ADD is killed before, what it has made on the host goes with a GC that
// knows nothing of the pod, and what it has made at all with a DEL.
func TestKilledInADD(t *testing.T) {
	// Nothing but the link says whose it is: no masquerading, no guard.
	for name, c := range map[string]conf{"bridge": {"type": "bridge", "bridge": "br0", "ipam": leased}, "ptp": plain, "bandwidth": faulted["bandwidth"]} {
		t.Run(name, func(t *testing.T) {
			p := newPatient(t)
			var prev any
			if name == "bandwidth" {
				prev, _, _ = p.call("ADD", plain, nil, "")
			}
			result, _, err := p.call("ADD", c, prev, "")
			must(t, err)
			_, _, err = p.call("DEL", c, result, "")
			must(t, err)
			p.before = p.text()
			for _, verb := range []string{"GC", "DEL"} {
				n := 1
				for ; ; n++ {
					moment := fmt.Sprintf("sendto:signal=KILL:when=%d", n)
					_, _, err := p.call("ADD", c, prev, moment)
					_, _, gerr := p.call(verb, c, prev, "")
					must(t, gerr)
					p.left(verb+" after an ADD with "+moment, err)
					if err == nil {
						_, _, err = p.call("DEL", c, prev, "")
						must(t, err)
						break
					}
				}
				if n < 5 {
					t.Errorf("ADD was killed at %d messages", n-1)
				}
			}
		})
	}
}
