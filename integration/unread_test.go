package integration

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/catena-cni/catena/integration/node"
)

const hostLocalIPAM = `"ipam":{"type":"host-local","subnet":"10.73.0.0/24","routes":[{"dst":"0.0.0.0/0"}]}`

// unread are plugins whose result nobody reads, each with those before it in its chain.
var unread = map[string][]string{
	"bridge":             {`"type":"bridge","bridge":"unread0","isGateway":true,"ipMasq":true,"macspoofchk":true,` + hostLocalIPAM},
	"bridge over static": {`"type":"bridge","bridge":"unread0","isGateway":true,"ipam":{"type":"static","addresses":[{"address":"10.73.0.9/24"}]}`},
	"ptp by iptables":    {`"type":"ptp","ipMasq":true,"ipMasqBackend":"iptables",` + hostLocalIPAM},
	"macvlan":            {`"type":"macvlan","master":"uplink",` + hostLocalIPAM},
	"tap":                {`"type":"tap",` + hostLocalIPAM},
	"host-device":        {`"type":"host-device","device":"spare",` + hostLocalIPAM},
	"host-local":         {`"type":"host-local",` + hostLocalIPAM},
	"flannel":            {`"type":"flannel","delegate":{"ipMasq":true,"bridge":"unread0"}`},
	"loopback":           {`"type":"loopback"`},
	"portmap":            {behindUnread, `"type":"portmap","runtimeConfig":{"portMappings":[{"hostPort":8080,"containerPort":80,"protocol":"tcp"}]}`},
	"portmap, iptables":  {behindUnread, `"type":"portmap","backend":"iptables","runtimeConfig":{"portMappings":[{"hostPort":8080,"containerPort":80,"protocol":"tcp"}]}`},
	"firewall":           {behindUnread, `"type":"firewall","ingressPolicy":"same-bridge"`},
	"firewall, iptables": {behindUnread, `"type":"firewall","backend":"iptables","ingressPolicy":"same-bridge"`},
	"tuning":             {behindUnread, `"type":"tuning","mac":"02:00:00:00:11:22","mtu":1300,"promisc":true,"sysctl":{"net.core.somaxconn":"1000"}`},
	"bandwidth":          {behindUnread, `"type":"bandwidth","ingressRate":1000000,"ingressBurst":1000000,"egressRate":1000000,"egressBurst":1000000`},
	"sbr":                {behindUnread, `"type":"sbr"`},
}

const behindUnread = `"type":"bridge","bridge":"unread0","isGateway":true,` + hostLocalIPAM

// TestResultNobodyReads: an ADD whose result cannot be written has failed for the runtime. It says so on standard error,
// and leaves nothing, on a full disk and into a pipe that nobody has open any more.
func TestResultNobodyReads(t *testing.T) {
	for name, chain := range unread {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			n, p := unreadNode(t)
			prev, last := "", chain[len(chain)-1]
			call := func(conf string) (string, string) {
				kind := strings.Split(conf, `"`)[3]
				return kind, fmt.Sprintf(`{"cniVersion":"1.0.0","name":"n",%s%s}`, conf, prev)
			}
			add := func(verb, conf string) string {
				kind, conf := call(conf)
				out, err := byHand(n, verb, kind, p.ID, p.Path, ifnameOf(kind), conf)
				must(t, err)
				return out
			}
			for _, conf := range chain[:len(chain)-1] {
				prev = `,"prevResult":` + add("ADD", conf)
			}
			add("ADD", last) // what is shared comes and stays
			add("DEL", last)
			everything := func() string {
				own, err := p.Space.Text()
				must(t, err)
				return text(t, n) + own
			}
			before := everything()
			for where, open := range map[string]func() (*os.File, error){"a full disk": fullDisk, "a pipe without a reader": brokenPipe} {
				stdout, err := open()
				must(t, err)
				var stderr strings.Builder
				kind, conf := call(last)
				cmd := exec.Command(filepath.Join(plugins, kind))
				cmd.Env = append(os.Environ(), "CNI_COMMAND=ADD", "CNI_CONTAINERID="+p.ID, "CNI_NETNS="+p.Path, "CNI_IFNAME="+ifnameOf(kind), "CNI_PATH="+plugins)
				cmd.Stdin, cmd.Stdout, cmd.Stderr = strings.NewReader(conf), stdout, &stderr
				must(t, n.Start(cmd))
				err = cmd.Wait()
				stdout.Close()
				if cmd.ProcessState.ExitCode() != 1 || !strings.Contains(stderr.String(), `"code": 5`) || !strings.Contains(stderr.String(), "write /dev/stdout") {
					t.Errorf("%s: %v: %s", where, err, stderr.String())
				}
				if _, left := node.Left(before, everything()); len(left) > 0 {
					t.Errorf("%s: left behind:\n%s", where, strings.Join(left, "\n"))
				}
			}
		})
	}
}

// unreadNode has what the chains need, and a pod.
func unreadNode(t *testing.T) (*node.Node, *node.Pod) {
	t.Helper()
	n := newNode(t)
	must(t, n.WriteFile(subnetEnv, "FLANNEL_NETWORK=10.73.0.0/16\nFLANNEL_SUBNET=10.73.1.1/24\nFLANNEL_MTU=1500\nFLANNEL_IPMASQ=true\n"))
	_, err := n.Run("ip", "link", "add", "spare", "type", "veth", "peer", "name", "spare1")
	must(t, err)
	return n, newPod(t, n, "p")
}

func ifnameOf(plugin string) string {
	if plugin == "loopback" {
		return "lo"
	}
	return "eth0"
}

func fullDisk() (*os.File, error) { return os.OpenFile("/dev/full", os.O_WRONLY, 0) }

func brokenPipe() (*os.File, error) {
	r, w, err := os.Pipe()
	if err == nil {
		r.Close()
	}
	return w, err
}
