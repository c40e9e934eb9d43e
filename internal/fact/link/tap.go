package link

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/catena-cni/catena/internal/cni"
	"github.com/catena-cni/catena/internal/fact"
	"github.com/catena-cni/catena/internal/kernel"
	"github.com/catena-cni/catena/internal/retry"
)

// Tap is a link in the pod whose frames a program reads and writes, such as a
// virtual machine's.
//
// It is made without a packet header (IFF_NO_PI) and without a virtio header,
// as "ip tuntap" makes it. Neither binds anybody: a program says with its own
// TUNSETIFF which of them it wants, and the kernel takes that over. The number
// of queues is what has to be said beforehand.
type Tap struct {
	Link       string
	MAC        net.HardwareAddr
	MTU        int // 0 for the kernel's
	MultiQueue bool
	// Owner and Group may open the device without privileges. Nil is nobody.
	Owner, Group *uint32
	// SELinux is the label that the device is made under, where the host has
	// SELinux.
	SELinux string
	// Bridge is one inside the pod that the link is to be a port of.
	Bridge string
}

func (t Tap) String() string {
	return fact.Text("link pod", t.Link, "tap", fact.Word("mac", t.MAC), mtuText(t.MTU), fact.Word("multi_queue", t.MultiQueue),
		fact.Word("user", t.Owner), fact.Word("group", t.Group), fact.Word("label", t.SELinux), fact.Word("bridge", t.Bridge))
}

// Add makes the device. Until the last step it lives only as long as its file
// is open here, so a failure, and even a sudden death, leaves nothing. The
// library's Tuntap gives every device an owner, and its errors are texts alone.
func (t Tap) Add(k *kernel.Kernel) error {
	bridge, err := master(k, kernel.Pod, t.Bridge)
	if err != nil {
		return err
	}
	tun, err := t.open(k)
	if err != nil {
		return err
	}
	defer tun.Close()
	if err := t.permit(tun); err != nil {
		return err
	}
	if err := t.configure(k, bridge); err != nil {
		k.Invalidate(kernel.Pod, t.Link)
		return err
	}
	return ioctl(tun, unix.TUNSETPERSIST, 1)
}

// open gives the open file of a new device in the pod.
func (t Tap) open(k *kernel.Kernel) (tun *os.File, err error) {
	err = k.Do(kernel.Pod, func() (err error) {
		if tun, err = openTun(); err != nil {
			return err
		}
		if _, err = setIff(tun, t.Link, t.flags(), t.SELinux); errors.Is(err, unix.EBUSY) {
			err = cni.Taken("interface %s is in the pod's network namespace already", t.Link)
		}
		if err != nil {
			tun.Close()
		}
		return err
	})
	return tun, err
}

// openTun opens a device that is none yet.
func openTun() (*os.File, error) {
	tun, err := os.OpenFile("/dev/net/tun", os.O_RDWR, 0)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ENXIO) || errors.Is(err, unix.ENODEV) {
		return nil, fmt.Errorf("this kernel has no tap devices (CONFIG_TUN, module tun): %w", err)
	}
	return tun, err
}

// TapReady looks whether the kernel has tap devices, and this process may make
// one.
func TapReady() error {
	tun, err := openTun()
	if err == nil {
		tun.Close()
	}
	return err
}

// flags ask for a device that is not there yet: without IFF_TUN_EXCL the kernel
// would open one of that name.
func (t Tap) flags() uint16 {
	f := uint16(unix.IFF_TAP | unix.IFF_NO_PI | unix.IFF_TUN_EXCL)
	if t.MultiQueue {
		f |= unix.IFF_MULTI_QUEUE
	}
	return f
}

// setIff gives an open /dev/net/tun its device, whose name it says: the kernel
// chooses one where none is given.
func setIff(tun *os.File, link string, flags uint16, label string) (string, error) {
	if label != "" && selinux() {
		return link, labelled(label, func() error { return inChild(tun, link, flags) })
	}
	r, err := unix.NewIfreq(link)
	if err != nil {
		return "", err
	}
	r.SetUint16(flags)
	if err := retry.Do(func() error { return unix.IoctlIfreq(int(tun.Fd()), unix.TUNSETIFF, r) }); err != nil {
		return "", fmt.Errorf("TUNSETIFF: %w", err)
	}
	return r.Name(), nil
}

func ioctl(tun *os.File, request uint, value int) error {
	return retry.Do(func() error { return unix.IoctlSetInt(int(tun.Fd()), request, value) })
}

// permit names who may open the device.
func (t Tap) permit(tun *os.File) error {
	for _, who := range []struct {
		is      string
		id      *uint32
		request uint
	}{{"owner", t.Owner, unix.TUNSETOWNER}, {"group", t.Group, unix.TUNSETGROUP}} {
		if who.id == nil {
			continue
		}
		if err := ioctl(tun, who.request, int(*who.id)); err != nil {
			return fmt.Errorf("%s %d: %w", who.is, *who.id, err)
		}
	}
	return nil
}

// configure sets in one message what the ioctls cannot.
func (t Tap) configure(k *kernel.Kernel, bridge *kernel.Link) error {
	l, err := k.Link(kernel.Pod, t.Link)
	if err != nil {
		return err
	}
	return k.SetLink(kernel.Pod, l, 0, 0, kernel.MAC(t.MAC), kernel.MTU(t.MTU), kernel.Master(bridge.Index))
}

func (t Tap) Del(k *kernel.Kernel) error { return removeFromPod(k, t.Link, "tun") }

func (t Tap) Check(k *kernel.Kernel) error {
	l, err := find(k, kernel.Pod, t.Link, "tun")
	if err != nil {
		return err
	}
	bridge, err := master(k, kernel.Pod, t.Bridge)
	if err != nil {
		return err
	}
	tun := l.Typed.(*netlink.Tuntap)
	multiQueue := tun.Flags&netlink.TUNTAP_MULTI_QUEUE != 0
	switch {
	case tun.Mode == netlink.TUNTAP_MODE_TUN:
		return errors.New("it is a tun device, not a tap device")
	case multiQueue != t.MultiQueue:
		return fmt.Errorf("its multi_queue is %t", multiQueue)
	case t.MAC != nil && l.MAC.String() != t.MAC.String():
		return fmt.Errorf("its mac is %v", l.MAC)
	case t.MTU != 0 && l.MTU != t.MTU:
		return fmt.Errorf("its mtu is %d", l.MTU)
	case l.Master != bridge.Index && t.Bridge != "":
		return fmt.Errorf("it is no port of %s", t.Bridge)
	}
	return nil
}
