package kernel_test

import (
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/catena-cni/catena/internal/kernel"
	"github.com/catena-cni/catena/internal/kerneltest"
)

func TestOpen(t *testing.T) {
	kerneltest.New(t)
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for path, wrong := range map[string]bool{"": false, "/nowhere": false, file: true, "/proc/self/status": true, "/proc/self/ns/mnt": true} {
		k, err := kernel.Open(path)
		if (err != nil) != wrong {
			t.Errorf("%q: %v", path, err)
		}
		if err != nil {
			continue
		}
		if k.Has(kernel.Pod) {
			t.Errorf("%q: a pod is there", path)
		}
		if _, err := k.Link(kernel.Pod, "lo"); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%q: %v", path, err)
		}
		k.Close()
	}
}

// TestSides: each socket sees its own namespace, and threads come back.
func TestSides(t *testing.T) {
	s := kerneltest.New(t)
	s.Run("ip link add hx type veth peer name px; ip link set px netns $POD up alias 'an alias'; ip link set hx address 02:00:00:00:00:09")
	k := s.Kernel()
	h, err := k.Link(kernel.Host, "hx")
	if err != nil {
		t.Fatal(err)
	}
	p, err := k.Link(kernel.Pod, "px")
	if err != nil {
		t.Fatal(err)
	}
	switch {
	case h.Kind != "veth" || h.MAC.String() != "02:00:00:00:00:09" || h.MTU != 1500 || h.Up():
		t.Errorf("%+v", h)
	case p.Alias != "an alias" || !p.Up() || p.Parent != h.Index || h.Parent != p.Index:
		t.Errorf("%+v %+v", p, h)
	}
	if _, err := k.Link(kernel.Host, "px"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the pod's link is on the host: %v", err)
	}
	if err := k.RemoveLink(kernel.Host, h); err != nil {
		t.Error(err)
	}
	if err := k.RemoveLink(kernel.Host, h); err != nil {
		t.Errorf("a link that is gone: %v", err)
	}
	// The sandbox's mounts are those of this thread alone.
	home, pod := kernel.Netns("/proc/thread-self/ns/net"), kernel.Netns(s.Pod)
	err = k.Do(kernel.Pod, func() error {
		if kernel.Netns("/proc/thread-self/ns/net") != pod {
			t.Error("Do is not in the pod")
		}
		return unix.EBUSY
	})
	if !errors.Is(err, unix.EBUSY) || kernel.Netns("/proc/thread-self/ns/net") != home {
		t.Errorf("%v, or the thread is elsewhere", err)
	}
}

func TestOwnNetns(t *testing.T) {
	s := kerneltest.New(t)
	if !kernel.OwnNetns("/proc/thread-self/ns/net") || kernel.OwnNetns(s.Pod) || kernel.OwnNetns("/nowhere") || kernel.OwnNetns("/etc/hostname") {
		t.Error("own and foreign are mixed up")
	}
}

// TestWords: the kernel's own words are in the error.
func TestWords(t *testing.T) {
	s := kerneltest.New(t)
	s.Run("ip link add hx type veth peer name px")
	k := s.Kernel()
	if err := k.CreateLink(kernel.Host, "hx", "veth", nil); !errors.Is(err, fs.ErrExist) {
		t.Errorf("%v", err)
	}
	if err := k.CreateLink(kernel.Host, "x", "nosuchkind", nil); err == nil || !errors.Is(err, unix.EOPNOTSUPP) {
		t.Errorf("%v", err)
	}
}

// TestLockPod: of many who choose the same number none gets one that another
// has, and who waits too long is told.
func TestLockPod(t *testing.T) {
	t.Parallel()
	s := kerneltest.New(t)
	var all sync.WaitGroup
	var next, holders atomic.Int32
	for range 20 {
		k := s.Kernel()
		all.Go(func() {
			unlock, err := k.LockPod()
			if err != nil {
				t.Error(err)
				return
			}
			defer unlock()
			if n := holders.Add(1); n != 1 {
				t.Errorf("%d have the lock", n)
			}
			n := next.Load()
			runtime.Gosched()
			next.Store(n + 1)
			holders.Add(-1)
		})
	}
	all.Wait()
	if n := next.Load(); n != 20 {
		t.Errorf("%d of 20 numbers", n)
	}
	if _, err := kernel.OpenHost("").LockPod(); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("without a pod: %v", err)
	}
	// A process of the pod's can hold it, by the file of its own namespace.
	holder := exec.Command("flock", "/proc/self/fd/3", "cat")
	pod, err := os.Open(s.Pod)
	if err != nil {
		t.Fatal(err)
	}
	holder.ExtraFiles = []*os.File{pod}
	in, _ := holder.StdinPipe()
	out, _ := holder.StdoutPipe()
	if err := holder.Start(); err != nil {
		t.Fatal(err)
	}
	_, _ = in.Write([]byte("x"))
	_, _ = out.Read(make([]byte, 1)) // it has the lock
	if _, err := s.Kernel().LockPod(); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("a lock that another has: %v", err)
	}
	in.Close()
	_ = holder.Wait()
}
