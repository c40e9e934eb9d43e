package main

import (
	"bufio"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/catena-cni/catena/internal/ipam/dhcp/daemon"
	"github.com/catena-cni/catena/internal/kerneltest"
)

func TestMain(m *testing.M) {
	flag.Parse()
	_ = flag.Set("test.parallel", "8") // the tests wait for leases' times, not for processors
	kerneltest.Main(m)
}

// world is a node whose bridge br0 is the segment that pods and servers are on.
type world struct {
	*kerneltest.Sandbox
	t   *testing.T
	bin string
}

const (
	serverMAC = "02:00:00:00:00:01"
	subnet    = "10.9.0"
)

func newWorld(t *testing.T) world {
	t.Helper()
	kerneltest.NeedsTime(t)    // the tests wait for the ends of leases
	kerneltest.Needs(t, "tun") // by which a lease is given back
	w := world{kerneltest.New(t), t, kerneltest.Build(t, "plugins/ipam/dhcp", "plugins/ipam/host-local", "plugins/main/bridge", "plugins/main/macvlan")}
	w.Run("ip link add br0 address " + serverMAC + " type bridge && ip addr add " + subnet + ".1/24 dev br0 && ip link set br0 up")
	// A bridge without a port has no carrier, and Kea does not listen on one.
	w.Run("ip link add port0 type veth peer name port1 && ip link set port0 master br0 up && ip link set port1 up")
	return w
}

// six gives the bridge an IPv6 network. Servers and a router's advertisements need
// its link-local address, which the kernel gives it with its carrier, and looks for
// a duplicate of first.
func (w world) six() {
	w.t.Helper()
	w.Run("ip addr add 2001:db8::1/64 dev br0 nodad")
	w.settled("ip -6 addr show dev br0 scope link -tentative | grep -q inet6")
}

// process is a program that runs beside the test, and what it says.
type process struct {
	t    *testing.T
	name string
	cmd  *exec.Cmd
	done chan error

	mu    sync.Mutex
	lines []string
	more  chan struct{}
}

// start starts a program in the world's namespaces. It ends with the test.
func (w world) start(name string, args ...string) *process {
	w.t.Helper()
	kerneltest.NeedsPrograms(w.t, name)
	return w.begin(exec.Command(name, args...))
}

func (w world) begin(cmd *exec.Cmd) *process {
	w.t.Helper()
	p := &process{t: w.t, name: filepath.Base(cmd.Path), cmd: cmd, done: make(chan error, 1), more: make(chan struct{})}
	out, in := io.Pipe()
	p.cmd.Stdout, p.cmd.Stderr = in, in
	// The test's thread is its parent, and ends with the test.
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := p.cmd.Start(); err != nil {
		w.t.Fatal(err)
	}
	go p.listen(out)
	go func() { p.done <- p.cmd.Wait(); in.Close() }()
	w.t.Cleanup(func() {
		p.stop(syscall.SIGKILL)
		if w.t.Failed() {
			w.t.Logf("%s said:\n%s", p.name, p.said())
		}
	})
	return p
}

func (p *process) listen(out io.Reader) {
	for s := bufio.NewScanner(out); s.Scan(); {
		p.mu.Lock()
		p.lines = append(p.lines, s.Text())
		close(p.more)
		p.more = make(chan struct{})
		p.mu.Unlock()
	}
}

func (p *process) said() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return strings.Join(p.lines, "\n")
}

// patience is how long a busy machine has for what takes no time.
const patience = 2 * time.Minute

// hears waits until the program has said something so many times, and gives the
// last of these lines.
func (p *process) hears(times int, pattern string) string {
	p.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	for {
		p.mu.Lock()
		more := p.more
		p.mu.Unlock()
		got := p.all(pattern)
		if len(got) >= times {
			return got[times-1]
		}
		select {
		case <-more:
		case <-ctx.Done():
			p.t.Fatalf("%s has not said %q %d times, but %d times", p.name, pattern, times, len(got))
		}
	}
}

// all are the lines that match.
func (p *process) all(pattern string) (out []string) {
	re := regexp.MustCompile(pattern)
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, l := range p.lines {
		if re.MatchString(l) {
			out = append(out, l)
		}
	}
	return out
}

func (p *process) count(pattern string) int { return len(p.all(pattern)) }

// stop ends the program with a signal and returns how it ended.
func (p *process) stop(signal os.Signal) error {
	_ = p.cmd.Process.Signal(signal)
	select {
	case err := <-p.done:
		p.done <- err
		return err
	case <-time.After(patience):
		p.t.Errorf("%s does not end on %v", p.name, signal)
		_ = p.cmd.Process.Kill()
		return nil
	}
}

// daemon starts ours and waits until it listens.
func (w world) daemon(args ...string) *process {
	w.t.Helper()
	p := w.start(filepath.Join(w.bin, "dhcp"), append([]string{"daemon"}, args...)...)
	p.hears(1, "^listening at")
	return p
}

// dnsmasq starts a server on the bridge. It says every message that it sees.
func (w world) dnsmasq(args ...string) *process {
	w.t.Helper()
	kerneltest.NeedsRoot(w.t, "dnsmasq, which leaves its groups")
	p := w.start("/usr/sbin/dnsmasq", append([]string{
		"--keep-in-foreground", "--conf-file=/dev/null", "--user=root", "--group=root", "--port=0", "--interface=br0", "--bind-interfaces", "--log-dhcp",
		"--log-facility=-", "--dhcp-leasefile=/run/dnsmasq.leases", "--pid-file=/run/dnsmasq.pid", "--no-ping", "--dhcp-authoritative",
	}, args...)...)
	p.hears(1, "DHCP, (sockets bound|IP range)")
	return p
}

// conf is a bridge with dhcp; members go into ipam.
func conf(members ...string) string {
	ipam := strings.Join(append([]string{`"type":"dhcp"`}, members...), ",")
	return `{"cniVersion":"1.1.0","name":"net","type":"bridge","bridge":"br0","ipam":{` + ipam + `}}`
}

func (w world) add(members ...string) kerneltest.Answer {
	w.t.Helper()
	return w.Must(kerneltest.Call{Bin: w.bin, Plugin: "bridge", Verb: "ADD", Conf: conf(members...)})
}

func (w world) del(members ...string) {
	w.t.Helper()
	w.Must(kerneltest.Call{Bin: w.bin, Plugin: "bridge", Verb: "DEL", Conf: conf(members...)})
}

// clientID is upstream's of container c1, as dnsmasq writes it.
const clientID = "00:63:31:2f:6e:65:74:2f:65:74:68:30" // type 0, "c1/net/eth0"

func range4(first, last int) string {
	return fmt.Sprintf("--dhcp-range=%s.%d,%s.%d,255.255.255.0,2m", subnet, first, subnet, last)
}

// records reads what the daemon keeps, by container.
func (w world) records() map[string]*daemon.Record {
	w.t.Helper()
	files, err := filepath.Glob("/var/lib/cni/dhcp/[^.]*")
	if err != nil {
		w.t.Fatal(err)
	}
	out := map[string]*daemon.Record{}
	for _, f := range files {
		text, err := os.ReadFile(f)
		r := &daemon.Record{}
		if err == nil {
			err = json.Unmarshal(text, r)
		}
		if err != nil {
			w.t.Fatal(err)
		}
		out[r.Args.ContainerID] = r
	}
	return out
}

func (w world) record(id string) *daemon.Record {
	w.t.Helper()
	r := w.records()[id]
	if r == nil {
		w.t.Fatalf("nothing is kept of %s", id)
	}
	return r
}

// address is the pod's one IPv4 address, with its prefix length.
func (w world) address() string {
	w.t.Helper()
	return strings.TrimSpace(w.Run("pod ip -o -4 addr show eth0 | awk '{print $4}'"))
}
