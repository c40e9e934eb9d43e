package sysctl

import (
	"errors"
	"io/fs"
	"testing"

	"github.com/catena-cni/catena/internal/kernel"
	"github.com/catena-cni/catena/internal/kerneltest"
)

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
	if err := Forwarding(false).Add(k); err != nil {
		t.Errorf("the value is right: %v", err)
	}
	if err := Forwarding(true).Add(k); !ReadOnly(err) {
		t.Errorf("a value that cannot be set: %v", err)
	}
}
