package fresh_test

import (
	"os"
	"path/filepath"
	"runtime"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/catena-cni/catena/internal/kerneltest"
	"github.com/catena-cni/catena/internal/kerneltest/fresh"
)

func TestMain(m *testing.M) { kerneltest.Main(m) }

// TestSettings: whatever was changed is as the kernel has it in a namespace that takes over nothing.
func TestSettings(t *testing.T) {
	kerneltest.NeedsNamespaces(t)
	runtime.LockOSThread() // never unlocked: the namespace ends with the thread
	if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
		t.Fatal(err)
	}
	if err := fresh.Settings(); err != nil {
		t.Fatal(err)
	}
	before := all(t)
	for _, key := range []string{
		"ipv4/ip_forward", "ipv4/conf/all/rp_filter", "ipv4/conf/default/rp_filter", "ipv4/conf/all/arp_ignore", "ipv4/conf/default/route_localnet",
		"ipv4/conf/all/promote_secondaries", "ipv4/conf/lo/rp_filter", "ipv6/conf/all/forwarding", "ipv6/conf/default/disable_ipv6",
	} {
		if err := os.WriteFile("/proc/sys/net/"+key, []byte("1"), 0); err != nil {
			t.Fatal(err)
		}
	}
	for _, key := range []string{"accept_source_route", "send_redirects"} {
		if err := os.WriteFile("/proc/sys/net/ipv4/conf/default/"+key, []byte("0"), 0); err != nil {
			t.Fatal(err)
		}
	}
	if err := fresh.Settings(); err != nil {
		t.Fatal(err)
	}
	for key, value := range all(t) {
		if before[key] != value {
			t.Errorf("%s is %q, not %q", key, value, before[key])
		}
	}
	if got := before["/proc/sys/net/ipv4/conf/all/forwarding"]; got != "0\n" {
		t.Errorf("it forwards: %q", got)
	}
}

// all reads every setting that a new namespace may take over.
func all(t *testing.T) map[string]string {
	values := map[string]string{}
	for _, family := range []string{"ipv4", "ipv6"} {
		files, err := filepath.Glob("/proc/sys/net/" + family + "/conf/*/*")
		if err != nil {
			t.Fatal(err)
		}
		for _, file := range files {
			if value, err := os.ReadFile(file); err == nil { // stable_secret cannot be read before it is set
				values[file] = string(value)
			}
		}
	}
	return values
}
