package route

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"

	"github.com/catena-cni/catena/internal/cni"
	"github.com/catena-cni/catena/internal/kernel"
)

// rule is a policy rule of the pod's namespace: what comes from Src is looked up
// in a table.
type rule struct {
	src      netip.Prefix // invalid for everything
	table    int
	protocol uint8
	// label is a mark that is compared under a mask of 0. So it keeps no packet
	// out, and says whose the rule is. 0 is nobody's.
	label uint32
	plain bool // it looks at nothing but the source
	// header and attrs are what the kernel says of it.
	header nl.NetlinkRequestData
	attrs  []*nl.RtAttr
}

// protocolOwn is the protocol of our rules and routes: it says who made them
// (RTPROT_* of linux/rtnetlink.h, where nobody has it).
const protocolOwn = 202

// rulePriority is the last before that of the main table, so that other rules, such
// as that of VRFs (1000), come first.
const rulePriority = 32765

// rules lists a side's rules of both families; a kernel without IPv6 has none of
// IPv6. The question is by hand: a kernel that checks strictly refuses the
// library's, and the library's rules leave out attributes that it does not know.
func rules(k *kernel.Kernel, side kernel.Side) ([]rule, error) {
	var out []rule
	for _, family := range families {
		header := &nl.RtMsg{RtMsg: unix.RtMsg{Family: family}} // of the shape of struct fib_rule_hdr
		answers, err := k.Ask(side, unix.RTM_GETRULE, unix.NLM_F_DUMP, header)
		if family == unix.AF_INET6 && errors.Is(err, unix.EAFNOSUPPORT) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("list policy rules: %w", err)
		}
		for _, a := range answers {
			if a[0] == family {
				out = append(out, parseRule(a))
			}
		}
	}
	return out, nil
}

func parseRule(b []byte) rule {
	header := nl.DeserializeRtMsg(b)
	r := rule{table: int(header.Table), header: header, plain: header.Dst_len == 0 && header.Tos == 0 && header.Type == unix.FR_ACT_TO_TBL}
	var mark, mask uint32
	attrs, err := kernel.Attrs(b[unix.SizeofRtMsg:])
	r.plain = r.plain && err == nil
	for _, a := range attrs {
		r.attrs = append(r.attrs, nl.NewRtAttr(int(a.Attr.Type), a.Value))
		switch a.Attr.Type {
		case nl.FRA_SRC:
			from, _ := netip.AddrFromSlice(a.Value)
			r.src = netip.PrefixFrom(from, int(header.Src_len))
		case nl.FRA_TABLE:
			r.table = int(kernel.Uint32(a.Value))
		case nl.FRA_PROTOCOL:
			if len(a.Value) == 1 {
				r.protocol = a.Value[0]
			}
		case nl.FRA_FWMARK:
			mark = kernel.Uint32(a.Value)
		case nl.FRA_FWMASK:
			mask = kernel.Uint32(a.Value)
		case nl.FRA_PRIORITY, nl.FRA_SUPPRESS_PREFIXLEN: // which every rule has
		default:
			r.plain = false
		}
	}
	if mask == 0 {
		r.label = mark
	}
	r.plain = r.plain && mask == 0
	return r
}

// add makes the rule. One that is there already is fs.ErrExist.
func (r rule) add(k *kernel.Kernel) error {
	from := cni.IPNet(r.src)
	typed := netlink.NewRule()
	typed.Src, typed.Table, typed.Priority, typed.Protocol = &from, r.table, rulePriority, protocolOwn
	typed.Mark, typed.Mask = r.label, new(uint32)
	err := k.Call(kernel.Pod, func(h *netlink.Handle) error { return h.RuleAdd(typed) })
	if errors.Is(err, unix.EOPNOTSUPP) || errors.Is(err, unix.EAFNOSUPPORT) {
		return fmt.Errorf("%w: %w", errNoRules, err)
	}
	return err
}

var errNoRules = errors.New("this kernel has no policy rules (CONFIG_IP_MULTIPLE_TABLES, CONFIG_IPV6_MULTIPLE_TABLES)")

// remove removes the rule as the kernel told it, so that no other is taken for it.
// One that is not there is success.
func (r rule) remove(k *kernel.Kernel) error {
	return kernel.Gone(k.Change(kernel.Pod, unix.RTM_DELRULE, 0, r.header, r.attrs...))
}

// RulesReady looks whether the kernel has policy rules.
func RulesReady(k *kernel.Kernel) error {
	if _, err := rules(k, kernel.Host); err != nil {
		return fmt.Errorf("%w: %w", errNoRules, err)
	}
	return nil
}

// FreeTables finds routing tables of the pod that nothing uses: no rule, no
// route of either family, no VRF. The numbers go up from the first. Who takes
// one of them holds the pod's lock (kernel.LockPod) from here on until it shows.
func FreeTables(k *kernel.Kernel, first, n int) ([]int, error) {
	used := map[int]bool{unix.RT_TABLE_DEFAULT: true, unix.RT_TABLE_MAIN: true, unix.RT_TABLE_LOCAL: true}
	all, err := rules(k, kernel.Pod)
	if err != nil {
		return nil, err
	}
	for _, r := range all {
		used[r.table] = true
	}
	for _, family := range families {
		routes, err := list(k, kernel.Pod, family)
		if err != nil {
			return nil, err
		}
		for _, r := range routes {
			used[r.Table] = true
		}
	}
	links, err := k.Links(kernel.Pod)
	if err != nil {
		return nil, err
	}
	for _, l := range links {
		if l.Kind == "vrf" {
			used[l.Table()] = true
		}
	}
	var free []int
	for table := first; len(free) < n; table++ {
		if !used[table] {
			free = append(free, table)
		}
	}
	return free, nil
}

// labelled are the rules of a list that have one of the labels.
func labelled(all []rule, labels ...uint32) []rule {
	return slices.DeleteFunc(slices.Clone(all), func(r rule) bool { return !slices.Contains(labels, r.label) })
}
