package integration

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/catena-cni/catena/integration/node"
)

// background starts a program in a space, and gives what ends it, as the test's end does.
func background(t *testing.T, s *node.Space, name string, args ...string) (stop func()) {
	t.Helper()
	cmd := exec.Command(name, args...)
	out, err := os.Create(filepath.Join(t.TempDir(), filepath.Base(name)))
	must(t, err)
	cmd.Stdout, cmd.Stderr = out, out
	must(t, s.Start(cmd))
	stop = func() {
		_ = cmd.Process.Signal(syscall.SIGTERM)
		_ = cmd.Wait()
	}
	t.Cleanup(func() {
		stop()
		if text, _ := os.ReadFile(out.Name()); t.Failed() {
			t.Logf("%s said:\n%s", name, text)
		}
		out.Close()
	})
	return stop
}

// eventually tries again until something succeeds, as what another program does in its own time.
func eventually(t *testing.T, try func() error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	for {
		err := try()
		if err == nil {
			return
		}
		select {
		case <-ctx.Done():
			t.Fatal(err)
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// TestDHCP attaches pods with addresses from a server of the network outside, of both families.
func TestDHCP(t *testing.T) {
	t.Parallel()
	n := newNode(t)
	for _, args := range lan {
		_, err := n.Run("ip", strings.Fields(args)...)
		must(t, err)
	}
	for _, args := range []string{"link set lan0 up", "addr add 172.16.81.1/24 dev lan0", "addr add fd00:81::1/64 dev lan0 nodad"} {
		_, err := n.Outside.Run("ip", strings.Fields(args)...)
		must(t, err)
	}
	// A router's advertisements come from its link-local address, which the kernel looks for a duplicate of first.
	eventually(t, func() error {
		if out, err := n.Outside.Run("ip", "-6", "addr", "show", "dev", "lan0", "tentative"); err != nil || out != "" {
			return fmt.Errorf("lan0 is not settled: %w %s", err, out)
		}
		return nil
	})
	must(t, n.Sysctl("net/ipv6/conf/eth0/accept_ra", "0")) // the routers are the pods'
	before := text(t, n)
	list, err := node.Load(filepath.Join(examples, "10-dhcp.conflist"), "1.1.0")
	must(t, err)
	r := n.Runtime(nil, plugins)
	if err := r.Status(list); err == nil || !strings.Contains(err.Error(), "the DHCP daemon is not running") {
		t.Errorf("STATUS without a daemon: %v", err)
	}
	leases := filepath.Join(t.TempDir(), "leases")
	background(t, &n.Outside, "/usr/sbin/dnsmasq", "--keep-in-foreground", "--conf-file=/dev/null", "--user=root", "--group=root", "--port=0", "--interface=lan0",
		"--bind-interfaces", "--log-dhcp", "--log-facility=-", "--dhcp-leasefile="+leases, "--pid-file=", "--no-ping", "--enable-ra",
		"--dhcp-range=172.16.81.100,172.16.81.199,255.255.255.0,2m", "--dhcp-range=fd00:81::100,fd00:81::1ff,64,2m")
	stop := background(t, &n.Space, filepath.Join(plugins, "dhcp"), "daemon")
	eventually(t, func() error { return r.Status(list) })

	var attached []node.Attachment
	for _, id := range []string{"a", "b"} {
		a := node.Attachment{Pod: newPod(t, n, id), List: list, IfName: "eth0", Args: [][2]string{{"IgnoreUnknown", "1"}, {"K8S_POD_NAME", "pod-" + id}}}
		result, err := r.Add(a)
		must(t, err)
		must(t, r.Check(a))
		for i, gateway := range []string{"172.16.81.1", "fd00:81::1"} {
			mine := addrs(t, result, []string{"4", "6"}[i])
			if len(mine) != 1 || !strings.HasPrefix(mine[0], strings.TrimSuffix(gateway, "1")) {
				t.Fatalf("the addresses are %v", mine)
			}
			must(t, a.Pod.Ping(gateway))
			must(t, n.Outside.Ping(mine[0]))
			if i == 0 {
				known, err := os.ReadFile(leases)
				must(t, err)
				if !strings.Contains(string(known), mine[0]+" pod-"+id) {
					t.Errorf("the server does not know the pod by its name:\n%s", known)
				}
			}
		}
		attached = append(attached, a)
	}
	// The first loses its namespace before DEL.
	must(t, attached[0].Pod.Remove())
	for _, a := range attached {
		must(t, r.Del(a))
		must(t, r.Del(a))
	}
	must(t, r.GC(list))
	must(t, attached[1].Pod.Remove())
	eventually(t, func() error { return given(leases) })
	stop()
	noneLeft(t, n, before)
}

// given reports an error while a server keeps leases of the test's networks.
func given(leases string) error {
	text, err := os.ReadFile(leases)
	if err == nil && strings.Contains(string(text), "81") && strings.Contains(string(text), "pod-") {
		err = &os.PathError{Op: "the server still keeps leases in", Path: leases, Err: os.ErrExist}
	}
	return err
}
