package tc

import (
	"errors"
	"fmt"
	"io/fs"
	"net"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/catena-cni/catena/internal/cni"
	"github.com/catena-cni/catena/internal/fact/sysctl"
	"github.com/catena-cni/catena/internal/kernel"
	"github.com/catena-cni/catena/internal/state/name"
)

// IFB is the device on the host that shapes what an attachment's pod sends.
//
// The pod could be shaped in its own namespace, without a device, and
// "egressShaper": "pod" does so. But a pod with CAP_NET_ADMIN could lift its own
// limit there, and DEL of upstream's plugin, and people, look for the IFB.
//
// Upstream names it after network and container alone, so two interfaces of a
// container in one network cannot both be limited. Ours has upstream's name, so
// that upstream's DEL finds it. Where another attachment has that name, ours is
// named after the whole attachment. The alias says whose a device is, and DEL looks
// for both names.
type IFB struct {
	Owner name.Attachment
	// Asked says that the pod's sending is limited. Otherwise the fact is there
	// for its Del.
	Asked bool
	// Others says that the device without an alias, which is upstream's, belongs
	// to another interface of the container: the result does not have it.
	Others bool
}

// ifbPrefix and the digits behind it fill up an interface's name.
const (
	ifbPrefix = "bwp"
	ifbDigits = 12
)

// names are those that the device can have: upstream's first.
func (i IFB) names() []string {
	return []string{i.Owner.UpstreamLink(ifbPrefix), ifbPrefix + name.Digits("ifb\x00" + i.Owner.String())[:ifbDigits]}
}

// Name is the name that the device has, unless another interface of the
// container has it.
func (i IFB) Name() string { return i.names()[0] }

// MAC is the device's hardware address. Nothing uses it.
func (i IFB) MAC() net.HardwareAddr { return i.Owner.MAC("ifb") }

func (i IFB) String() string { return "link host " + i.Name() + " ifb" }

func (i IFB) Idle() bool { return !i.Asked }

// Find gives the device as it is: the one that is the attachment's,
// or else one that has none.
func (i IFB) Find(k *kernel.Kernel) (*kernel.Link, error) {
	var nameless *kernel.Link // upstream's
	for n, candidate := range i.names() {
		l, err := k.Link(kernel.Host, candidate)
		switch {
		case errors.Is(err, fs.ErrNotExist):
		case err != nil:
			return nil, err
		case i.owns(l):
			return l, nil
		case l.Kind == "ifb" && l.Alias == "" && !(n == 0 && i.Others):
			nameless = l
		}
	}
	if nameless == nil {
		return nil, fmt.Errorf("link %s: there is none: %w", i.Name(), fs.ErrNotExist)
	}
	return nameless, nil
}

// owns reports whether a device is the attachment's, by its alias, or where its ADD
// was killed before it had one, by its address.
func (i IFB) owns(l *kernel.Link) bool {
	return l.Kind == "ifb" && (l.Alias == i.Owner.Alias() || l.Alias == "" && l.MAC.String() == i.MAC().String())
}

func (i IFB) Made(k *kernel.Kernel) (bool, error) {
	l, err := i.Find(k)
	return err == nil && i.owns(l), gone(err)
}

func (i IFB) text() string { return i.Name() }

func (i IFB) find(k *kernel.Kernel) (target, error) {
	l, err := i.Find(k)
	return target{k: k, side: kernel.Host, link: l}, err
}

// Add makes the device, as large as the host's end of the pod's link. One that is
// not finished Del takes away.
func (i IFB) Add(k *kernel.Kernel) error {
	end, err := HostEnd{i.Owner}.find(k)
	if err != nil {
		return err
	}
	device := &netlink.Ifb{LinkAttrs: netlink.NewLinkAttrs()}
	device.MTU, device.HardwareAddr, device.Group = end.link.MTU, i.MAC(), kernel.Newborn(i.Owner.Network)
	for _, candidate := range i.names() {
		device.Name = candidate
		err = k.Call(kernel.Host, func(h *netlink.Handle) error { return h.LinkAdd(device) })
		if !errors.Is(err, fs.ErrExist) {
			break
		}
		if holder, ferr := i.Find(k); ferr == nil {
			return cni.Taken("%s is there already", holder.Name)
		}
	}
	if errors.Is(err, unix.EOPNOTSUPP) {
		return lacks("ifb", unix.EOPNOTSUPP)
	}
	if err != nil {
		return fmt.Errorf("%s: %w", device.Name, err)
	}
	// Without IPv6 the device sends no packets of its own, of the pod's share.
	quiet := sysctl.Pairs{{Key: "net/ipv6/conf/" + device.Name + "/disable_ipv6", Value: "1"}}
	if err := (sysctl.Setting{Side: kernel.Host, Pairs: quiet, Optional: true}).Add(k); err != nil {
		return err
	}
	made := &kernel.Link{Index: device.Index, Name: device.Name}
	return k.SetLink(kernel.Host, made, unix.IFF_UP, unix.IFF_UP, kernel.Grown(i.Owner.Alias())...)
}

func (i IFB) Del(k *kernel.Kernel) error {
	l, err := i.Find(k)
	if err != nil {
		return gone(err)
	}
	return k.RemoveLink(kernel.Host, l)
}

func (i IFB) Check(k *kernel.Kernel) error {
	l, err := i.Find(k)
	if err != nil {
		return err
	}
	if !l.Up() {
		return fmt.Errorf("%s is down", l.Name)
	}
	return nil
}
