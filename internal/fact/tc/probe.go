package tc

import (
	"errors"

	"golang.org/x/sys/unix"

	"github.com/catena-cni/catena/internal/kernel"
	"github.com/catena-cni/catena/internal/netlink"
)

// Ready looks whether the kernel has what shaping takes: each is asked for on
// lo, in a way that the kernel refuses for another reason than not knowing it.
// Nothing is made, and modules are loaded that can be.
func Ready(k *kernel.Kernel, exempt bool) error {
	what := []string{"tbf", "clsact", "ifb", "mirred"}
	if exempt {
		what = append(what, "prio")
	}
	var errs []error
	for _, w := range what {
		errs = append(errs, has(k, kernel.Host, w))
	}
	return errors.Join(errs...)
}

// has is nil for what the kernel has, and for what cannot be told.
func has(k *kernel.Kernel, side kernel.Side, what string) error {
	c, err := k.Conn(side)
	if err != nil {
		return err
	}
	lo, err := k.Link(side, "lo")
	if err != nil {
		return err
	}
	_, err = c.Request(impossible(what, lo))
	switch {
	case errors.Is(err, unix.EOPNOTSUPP), errors.Is(err, unix.ENOENT):
		return lacks(what, err)
	case errors.Is(err, unix.EPERM):
		return kernel.Cause(err)
	}
	return nil
}

// impossible is a message that no kernel does: a token bucket or bands without
// any number, a hook that shares its filters with number 0, a device with an
// address of one byte, an action without options.
func impossible(what string, lo *kernel.Link) netlink.Message {
	const blockZero = unix.TCA_INGRESS_BLOCK
	m := netlink.Message{Type: unix.RTM_NEWQDISC, Flags: unix.NLM_F_CREATE | unix.NLM_F_EXCL}
	kind := netlink.String(unix.TCA_KIND, what)
	switch what {
	case "ifb":
		m.Type = unix.RTM_NEWLINK
		info := netlink.Nest(unix.IFLA_LINKINFO, netlink.String(unix.IFLA_INFO_KIND, what))
		m.Body = append(make([]byte, unix.SizeofIfInfomsg), netlink.Join(info, netlink.Bytes(unix.IFLA_ADDRESS, []byte{0}))...)
	case "mirred":
		const actions = 1 // TCA_ACT_TAB
		m.Type = unix.RTM_NEWACTION
		m.Body = append(make([]byte, 4), netlink.Nest(actions, netlink.Nest(1, netlink.String(actKind, what)))...)
	case "clsact":
		m.Body = append(header(lo, hookID, hook, 0), netlink.Join(kind, netlink.U32(blockZero, 0))...)
	default:
		m.Body = append(header(lo, shaperID, root, 0), kind...)
	}
	return m
}
