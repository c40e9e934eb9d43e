package link

import (
	"errors"
	"io/fs"
	"os"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/catena-cni/catena/internal/kernel"
	"github.com/catena-cni/catena/internal/kerneltest"
)

func TestMain(m *testing.M) {
	TapChild()
	kerneltest.Main(m)
}

// TestTapInChild: a process of its own makes the device, and it lives on in the
// file that stayed here. That is all of selinuxContext that a kernel without
// SELinux can show.
func TestTapInChild(t *testing.T) {
	kerneltest.Needs(t, "tun")
	s := kerneltest.New(t)
	k := s.Kernel()
	var tun *os.File
	err := k.Do(kernel.Pod, func() (err error) {
		if tun, err = openTun(); err != nil {
			return err
		}
		return inChild(tun, "tap0", Tap{}.flags())
	})
	if err != nil {
		t.Fatal(err)
	}
	if text := s.Run("pod ip -d link show tap0"); !strings.Contains(text, "tun type tap pi off vnet_hdr off") {
		t.Error(text)
	}
	if err := inChild(tun, "tap1", Tap{}.flags()); err == nil {
		t.Error("a file has two devices")
	}
	tun.Close()
	if text, err := s.Try("pod ip link show tap0"); err == nil {
		t.Errorf("it outlives its file: %s", text)
	}
}

// TestTapLeavesForeign: an interface of that name is no reason to take it, and
// what fails late leaves nothing.
func TestTapLeavesForeign(t *testing.T) {
	kerneltest.Needs(t, "tun")
	s := kerneltest.New(t)
	s.Run("pod ip tuntap add mode tap name tap0; pod ip link add v0 type veth peer name v1; pod ip link add br0 type bridge")
	before := s.Text()
	mac := func(last byte) []byte { return []byte{2, 0, 0, 0, 0, last} }
	for _, row := range []struct {
		tap  Tap
		want error
	}{
		{Tap{Link: "tap0", MAC: mac(1)}, fs.ErrExist},
		{Tap{Link: "v0", MAC: mac(1)}, fs.ErrExist},
		{Tap{Link: "new", MAC: mac(1), Bridge: "nowhere"}, fs.ErrNotExist},
		{Tap{Link: "new", MAC: mac(1), Bridge: "v0"}, nil},
		{Tap{Link: "new", MAC: mac(1), MTU: 70000}, nil},
		{Tap{Link: "new", MAC: []byte{1, 0, 0, 0, 0, 0}}, nil},
	} {
		err := row.tap.Add(s.Kernel())
		if err == nil || row.want != nil && !errors.Is(err, row.want) {
			t.Errorf("%v: %v", row.tap, err)
		}
		s.Same(row.tap.String(), before, s.Text())
	}
	// Somebody else's interface stays on DEL too.
	for _, name := range []string{"v0", "nowhere"} {
		if err := (Tap{Link: name}).Del(s.Kernel()); err != nil {
			t.Error(err)
		}
	}
	s.Same("DEL", before, s.Text())
}

// TestTapOpeners: who opens the device says which headers its frames have,
// however it was made.
func TestTapOpeners(t *testing.T) {
	kerneltest.NeedsRoot(t, "a device of another user")
	kerneltest.Needs(t, "tun")
	s := kerneltest.New(t)
	k := s.Kernel()
	uid := uint32(4711)
	if err := (Tap{Link: "tap0", MAC: []byte{2, 0, 0, 0, 0, 1}, Owner: &uid, Group: &uid}).Add(k); err != nil {
		t.Fatal(err)
	}
	for _, flags := range []uint16{unix.IFF_TAP, unix.IFF_TAP | unix.IFF_VNET_HDR | unix.IFF_NO_PI} {
		var tun *os.File
		err := k.Do(kernel.Pod, func() (err error) {
			if tun, err = openTun(); err != nil {
				return err
			}
			_, err = setIff(tun, "tap0", flags, "")
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		text := s.Run("pod ip -d link show tap0")
		if strings.Contains(text, "vnet_hdr on") != (flags&unix.IFF_VNET_HDR != 0) || strings.Contains(text, "pi on") != (flags&unix.IFF_NO_PI == 0) ||
			!strings.Contains(text, "user 4711 group 4711") || !strings.Contains(text, "persist on") {
			t.Errorf("%x: %s", flags, text)
		}
		tun.Close()
	}
}
