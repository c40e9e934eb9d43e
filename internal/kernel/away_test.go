package kernel_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/catena-cni/catena/internal/kernel"
	"github.com/catena-cni/catena/internal/kerneltest"
)

// TestNoWayBack: a thread that the kernel does not let back from the pod is an
// error to the caller, who goes on at home, and ends.
func TestNoWayBack(t *testing.T) {
	s := kerneltest.New(t)
	k := s.Kernel()
	home, pod := kernel.Netns("/proc/thread-self/ns/net"), kernel.Netns(s.Pod)
	err := k.Do(kernel.Pod, func() error { return errors.Join(unix.EBUSY, powerless()) })
	if !errors.Is(err, unix.EBUSY) || !errors.Is(err, unix.EPERM) || !strings.Contains(fmt.Sprint(err), "the way back from the pod's network namespace is closed") {
		t.Errorf("%v", err)
	}
	if kernel.Netns("/proc/thread-self/ns/net") != home {
		t.Error("the caller is not at home")
	}
	lonely(t, pod)
	// All goes on.
	if _, err := k.Link(kernel.Pod, "lo"); err != nil {
		t.Error(err)
	}
	lonely(t, pod)
}

// TestPanicInside: a panic is the caller's, and leaves no thread in the pod.
func TestPanicInside(t *testing.T) {
	s := kerneltest.New(t)
	k := s.Kernel()
	func() {
		defer func() {
			if p := recover(); p != "a fault" {
				t.Errorf("%v", p)
			}
		}()
		_ = k.Do(kernel.Pod, func() error { panic("a fault") })
	}()
	lonely(t, kernel.Netns(s.Pod))
}

// powerless takes the right to change namespaces from the calling thread.
func powerless() error {
	head := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var data [2]unix.CapUserData
	if err := unix.Capget(&head, &data[0]); err != nil {
		return err
	}
	for _, set := range []*uint32{&data[0].Effective, &data[0].Permitted} {
		*set &^= 1 << unix.CAP_SYS_ADMIN
	}
	return unix.Capset(&head, &data[0])
}

// lonely waits until no thread of this process is in a namespace, less its first
// one, which Go does not end but parks for ever. A thread ends a moment after its
// goroutine.
func lonely(t *testing.T, ns kernel.NetnsID) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(time.Millisecond) {
		inside := 0
		tasks, err := filepath.Glob("/proc/self/task/*/ns/net")
		if err != nil || len(tasks) == 0 {
			t.Fatal("no threads are to be seen", err)
		}
		for _, task := range tasks {
			if kernel.Netns(task) == ns && !strings.HasPrefix(task, fmt.Sprintf("/proc/self/task/%d/", os.Getpid())) {
				inside++
			}
		}
		if inside == 0 {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%d threads of process %d are in the pod", inside, os.Getpid())
		}
	}
}
