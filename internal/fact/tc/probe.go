package tc

import (
	"errors"
	"fmt"
	"io/fs"
	"runtime"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/catena-cni/catena/internal/cni"
)

// configs are the kernel's names for what it can be built without.
var configs = map[string]string{
	"tbf": "CONFIG_NET_SCH_TBF", "clsact": "CONFIG_NET_SCH_INGRESS", "prio": "CONFIG_NET_SCH_PRIO",
	"fq_codel": "CONFIG_NET_SCH_FQ_CODEL", "bfifo": "CONFIG_NET_SCH_FIFO", "mirred": "CONFIG_NET_ACT_MIRRED", "u32": "CONFIG_NET_CLS_U32", "ifb": "CONFIG_IFB",
}

// errLacks is the class of errors about what this kernel does not have.
var errLacks = errors.New("this kernel does not have")

func lacks(what string, cause error) error {
	return cni.Hint(fmt.Errorf("%w %s (%s): %w", errLacks, what, configs[what], cause),
		"load the module, or use a kernel that has it; many distributions keep it in a package of extra modules")
}

// Ready looks whether the kernel has what shaping takes. Modules are loaded that
// can be.
func Ready(exempt bool) error {
	what := []string{"tbf", "clsact", "u32", "mirred", "ifb"}
	if exempt {
		what = append(what, "prio")
	}
	return lacking(what...)
}

// lacking says which of those things the kernel does not have. Each is made in an
// empty network namespace, which nobody sees and which goes with its thread: five
// milliseconds. A message that makes nothing could not tell about u32: the kernel
// looks for a filter's place before its kind.
func lacking(what ...string) error {
	done := make(chan error)
	go func() {
		runtime.LockOSThread() // and never unlocked: the thread ends with the goroutine
		done <- rehearse(what)
	}()
	return <-done
}

func rehearse(what []string) error {
	if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
		return fmt.Errorf("make a network namespace to try in, for which it needs CAP_SYS_ADMIN: %w", err)
	}
	h, err := netlink.NewHandle(unix.NETLINK_ROUTE)
	if err != nil {
		return fmt.Errorf("netlink socket: %w", err)
	}
	defer h.Close()
	const lo = 1
	// A discipline without numbers is refused, but for another reason.
	qdisc := func(kind string, parent uint32) error {
		return h.QdiscAdd(&netlink.GenericQdisc{QdiscAttrs: netlink.QdiscAttrs{LinkIndex: lo, Parent: parent}, QdiscType: kind})
	}
	filter := func(actions ...netlink.Action) error {
		hook := qdisc("clsact", netlink.HANDLE_CLSACT)
		place := netlink.FilterAttrs{LinkIndex: lo, Parent: received, Priority: 1, Protocol: unix.ETH_P_ALL}
		if hook == nil || errors.Is(hook, fs.ErrExist) {
			return h.FilterAdd(&netlink.U32{FilterAttrs: place, Actions: actions})
		}
		return nil // as far as can be told
	}
	var errs []error
	for _, w := range what {
		switch w {
		case "clsact":
			err = qdisc(w, netlink.HANDLE_CLSACT)
		case "u32":
			err = filter()
		case "mirred":
			err = filter(netlink.NewMirredAction(lo))
		case "ifb":
			err = h.LinkAdd(&netlink.Ifb{LinkAttrs: netlink.LinkAttrs{Name: "probe"}})
		default:
			err = qdisc(w, Root)
		}
		if errors.Is(err, unix.ENOENT) || errors.Is(err, unix.EOPNOTSUPP) {
			errs = append(errs, lacks(w, err))
		}
	}
	return errors.Join(errs...)
}
