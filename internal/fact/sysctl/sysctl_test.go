package sysctl

import (
	"errors"
	"io/fs"
	"testing"

	"github.com/catena-cni/catena/internal/kernel"
	"github.com/catena-cni/catena/internal/kerneltest"
)

func TestMain(m *testing.M) { kerneltest.Main(m) }

// TestContained: no key leads out of /proc/sys.
func TestContained(t *testing.T) {
	for _, key := range []string{"../../etc/passwd", "/etc/passwd", "net/../../x", ""} {
		if _, err := Read(key); !errors.Is(err, fs.ErrInvalid) {
			t.Errorf("read %q: %v", key, err)
		}
		if err := Write(key, "1"); !errors.Is(err, fs.ErrInvalid) {
			t.Errorf("write %q: %v", key, err)
		}
	}
}

func TestSame(t *testing.T) {
	if !Same("2000\t3000", "2000 3000") || !Same("1\n", "1") || Same("1", "11") {
		t.Error("blanks decide")
	}
}

// TestSides: a setting of the pod's is the pod's alone.
func TestSides(t *testing.T) {
	s := kerneltest.New(t)
	k := s.Kernel()
	f := Setting{Side: kernel.Pod, Pairs: Pairs{{"net/ipv4/ip_forward", "1"}}}
	if err := f.Add(k); err != nil {
		t.Fatal(err)
	}
	if err := f.Check(k); err != nil {
		t.Error(err)
	}
	if host := s.Run("sysctl -n net.ipv4.ip_forward"); host != "0\n" {
		t.Errorf("the host's is %s", host)
	}
	s.Run("pod sysctl -q net.ipv4.ip_forward=0")
	if err := f.Check(k); err == nil {
		t.Error("CHECK does not see it")
	}
	f.Pairs[0].Key = "net/ipv4/no_such_key"
	if err := f.Add(k); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a key that is not there: %v", err)
	}
	f.Optional = true
	if err := f.Add(k); err != nil {
		t.Errorf("an optional key that is not there: %v", err)
	}
}

// TestReadOnly: what says so already is well on a read-only /proc/sys.
func TestReadOnly(t *testing.T) {
	s := kerneltest.New(t)
	s.Run("sysctl -q net.ipv4.ip_forward=1; mount --bind /proc/sys /proc/sys; mount -o remount,ro,bind /proc/sys")
	k := s.Kernel()
	if err := (Forwarding{}).Add(k); err != nil {
		t.Errorf("the value is right: %v", err)
	}
	if err := (Forwarding{Six: true}).Add(k); !ReadOnly(err) {
		t.Errorf("a value that cannot be set: %v", err)
	}
}

// TestForwardingKeepsListening: a host that forwards IPv6 goes on hearing the
// routers of its uplinks, and goes on not hearing those of the pods.
func TestForwardingKeepsListening(t *testing.T) {
	s := kerneltest.New(t)
	s.Run("ip link add up0 type veth peer name up1; ip link add pod0 type veth peer name pod1; sysctl -q net.ipv6.conf.pod0.accept_ra=0")
	k := s.Kernel()
	if err := (Forwarding{Six: true}).Add(k); err != nil {
		t.Fatal(err)
	}
	if got := s.Run("sysctl -n net.ipv6.conf.up0.accept_ra net.ipv6.conf.pod0.accept_ra net.ipv6.conf.all.forwarding"); got != "2\n0\n1\n" {
		t.Errorf("%q", got)
	}
	s.Run("sysctl -q net.ipv6.conf.up0.accept_ra=1")
	if err := (Forwarding{Six: true}).Add(k); err != nil {
		t.Fatal(err)
	}
	if got := s.Run("sysctl -n net.ipv6.conf.up0.accept_ra"); got != "1\n" {
		t.Errorf("an administrator's choice became %q", got)
	}
}
