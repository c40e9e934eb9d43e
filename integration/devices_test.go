package integration

import (
	"bytes"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/catena-cni/catena/integration/node"
)

func ip(t *testing.T, s *node.Space, lines ...string) {
	t.Helper()
	for _, l := range lines {
		if out, err := s.Run("ip", strings.Fields(l)...); err != nil {
			t.Fatalf("ip %s: %v: %s", l, err, out)
		}
	}
}

// TestHandedOver gives a pod the node's second network card and takes it back.
func TestHandedOver(t *testing.T) {
	t.Parallel()
	n := newNode(t)
	ip(t, &n.Space, "link add eth1 mtu 1450 type veth peer name lan1 netns outside", "link set eth1 up alias spare", "addr add 172.16.65.2/24 dev eth1")
	ip(t, &n.Outside, "link set lan1 up", "addr add 172.16.65.1/24 dev lan1", "addr add fd00:65::1/64 dev lan1 nodad")
	must(t, n.Ping("172.16.65.1"))
	empty := text(t, n)
	list, err := node.Load(filepath.Join(examples, "10-host-device.conflist"), "1.1.0")
	must(t, err)
	r := n.Runtime(nil, plugins)
	must(t, r.Status(list))
	a := node.Attachment{Pod: newPod(t, n, "a"), List: list, IfName: "net1"}
	b := node.Attachment{Pod: newPod(t, n, "b"), List: list, IfName: "net1"}
	before := text(t, n)
	result, err := r.Add(a)
	must(t, err)
	must(t, r.Check(a))
	must(t, r.Status(list))
	for i, gateway := range []string{"172.16.65.1", "fd00:65::1"} {
		must(t, a.Pod.Ping(gateway))
		must(t, n.Outside.Ping(addrs(t, result, []string{"4", "6"}[i])[0]))
	}
	if _, err := r.Add(b); err == nil || !strings.Contains(err.Error(), "eth1 is in the pod of uplink/") {
		t.Errorf("a second pod: %v", err)
	}
	must(t, r.Del(b))
	must(t, r.Check(a))
	must(t, r.Del(a))
	must(t, r.Del(a))
	noneLeft(t, n, before)
	must(t, n.Ping("172.16.65.1"))

	// The runtime forgot it: GC takes it out of a pod that still runs.
	_, err = r.Add(b)
	must(t, err)
	must(t, r.GC(list))
	noneLeft(t, n, before)
	must(t, n.Ping("172.16.65.1"))
	must(t, r.Del(b))
	must(t, a.Pod.Remove())
	must(t, b.Pod.Remove())
	noneLeft(t, n, empty)
}

// TestMachine opens the tap device of the example as a virtual machine's emulator does, and reads a frame from it.
func TestMachine(t *testing.T) {
	t.Parallel()
	n := newNode(t)
	before := text(t, n)
	list, err := node.Load(filepath.Join(examples, "10-tap.conflist"), "1.1.0")
	must(t, err)
	r := n.Runtime(nil, plugins)
	must(t, r.Status(list))
	a := node.Attachment{Pod: newPod(t, n, "a"), List: list, IfName: "tap0"}
	_, err = r.Add(a)
	must(t, err)
	must(t, r.Check(a))
	var file int
	must(t, a.Pod.Do(func() (err error) {
		if file, err = unix.Open("/dev/net/tun", unix.O_RDWR|unix.O_CLOEXEC, 0); err != nil {
			return err
		}
		req, err := unix.NewIfreq("tap0")
		if err != nil {
			return err
		}
		req.SetUint16(unix.IFF_TAP | unix.IFF_NO_PI | unix.IFF_MULTI_QUEUE)
		return tunSetIff(file, req)
	}))
	ping := exec.Command("ping", "-c1", "-W1", "10.81.0.1")
	must(t, a.Pod.Start(ping))
	if !frame(file, []byte{0x08, 0x06}, []byte{10, 81, 0, 1}) {
		t.Error("the machine does not see the pod ask who has 10.81.0.1")
	}
	_ = ping.Wait()
	must(t, r.Check(a))
	must(t, unix.Close(file))
	must(t, r.Del(a))
	must(t, r.Del(a))
	must(t, a.Pod.Remove())
	must(t, r.GC(list))
	noneLeft(t, n, before)
}

// frame reads frames until one has the type and the text in it.
func frame(file int, kind, text []byte) bool {
	b := make([]byte, 2048)
	for deadline := time.Now().Add(time.Minute); time.Now().Before(deadline); {
		ready, err := unix.Poll([]unix.PollFd{{Fd: int32(file), Events: unix.POLLIN}}, 100)
		if err != nil || ready == 0 {
			continue
		}
		n, err := unix.Read(file, b)
		if err == nil && n > 14 && bytes.Equal(b[12:14], kind) && bytes.Contains(b[14:n], text) {
			return true
		}
	}
	return false
}

func tunSetIff(file int, req *unix.Ifreq) error {
	if _, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(file), unix.TUNSETIFF, uintptr(unsafe.Pointer(req))); errno != 0 {
		return errno
	}
	return nil
}
