package route

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"

	"golang.org/x/sys/unix"

	"github.com/catena-cni/catena/internal/kernel"
	"github.com/catena-cni/catena/internal/lists"
	"github.com/catena-cni/catena/internal/netlink"
)

// rule is a policy rule of the pod's namespace: what comes from Src is looked up
// in a table.
type rule struct {
	src             netip.Prefix // invalid for everything
	table, priority int
	protocol        byte
	// label is a mark that is compared under a mask of 0. So it keeps no packet
	// out, and says whose the rule is. 0 is nobody's.
	label uint32
	plain bool // it looks at nothing but the source
	raw   []byte
}

// protocolOwn is what the rules and routes that we make say of who made them
// (RTPROT_* of linux/rtnetlink.h, where it is nobody's).
const protocolOwn = 202

// rulePriority is the last before that of the main table. What is more urgent,
// as the rule of VRFs (1000), comes first.
const rulePriority = 32765

const (
	headerSize  = 12 // struct fib_rule_hdr
	attrFwmark  = 10 // FRA_FWMARK of linux/fib_rules.h
	attrRuleTab = 15 // FRA_TABLE
	attrRulePri = 6  // FRA_PRIORITY
)

// rules lists the pod's rules of both families. A kernel without IPv6 has none
// of it.
func rules(k *kernel.Kernel, side kernel.Side) ([]rule, error) {
	c, err := k.Conn(side)
	if err != nil {
		return nil, err
	}
	var out []rule
	for _, family := range families {
		answers, err := c.Dump(netlink.Message{Type: unix.RTM_GETRULE, Body: append([]byte{family}, make([]byte, headerSize-1)...)})
		if family == unix.AF_INET6 && errors.Is(err, unix.EAFNOSUPPORT) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("list policy rules: %w", err)
		}
		for _, a := range answers {
			if len(a) >= headerSize && a[0] == family {
				out = append(out, parseRule(a))
			}
		}
	}
	return out, nil
}

func parseRule(b []byte) rule {
	const attrSuppress = 14 // FRA_SUPPRESS_PREFIXLEN, which every answer has
	r := rule{table: int(b[4]), raw: b, plain: b[1] == 0 && b[3] == 0 && b[7] == unix.FR_ACT_TO_TBL}
	var mark, mask uint32
	for kind, data := range netlink.Attrs(b[headerSize:]) {
		switch kind {
		case unix.FRA_SRC:
			a, _ := netip.AddrFromSlice(data)
			r.src = netip.PrefixFrom(a, int(b[2]))
		case attrRuleTab:
			r.table = int(netlink.Uint32(data))
		case attrRulePri:
			r.priority = int(netlink.Uint32(data))
		case unix.FRA_PROTOCOL:
			r.protocol = data[0]
		case attrFwmark:
			mark = netlink.Uint32(data)
		case unix.FRA_FWMASK:
			mask = netlink.Uint32(data)
		case attrSuppress:
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

// add makes the rule. One that is there already is os.ErrExist.
func (r rule) add(k *kernel.Kernel) error {
	c, err := k.Conn(kernel.Pod)
	if err != nil {
		return err
	}
	header := make([]byte, headerSize)
	header[0], header[2], header[4], header[7] = family(r.src.Addr()), byte(r.src.Bits()), tableByte(r.table), unix.FR_ACT_TO_TBL
	body := append(header, netlink.Join(
		netlink.Bytes(unix.FRA_SRC, r.src.Addr().AsSlice()), netlink.U32(attrRuleTab, uint32(r.table)), netlink.U32(attrRulePri, rulePriority),
		netlink.U8(unix.FRA_PROTOCOL, protocolOwn), netlink.U32(attrFwmark, r.label), netlink.U32(unix.FRA_FWMASK, 0),
	)...)
	_, err = c.Request(netlink.Message{Type: unix.RTM_NEWRULE, Flags: unix.NLM_F_CREATE | unix.NLM_F_EXCL, Body: body})
	if errors.Is(err, unix.EOPNOTSUPP) || errors.Is(err, unix.EAFNOSUPPORT) {
		return fmt.Errorf("%w: %w", errNoRules, err)
	}
	return err
}

var errNoRules = errors.New("this kernel has no policy rules (CONFIG_IP_MULTIPLE_TABLES, CONFIG_IPV6_MULTIPLE_TABLES)")

// remove removes the rule as the kernel told it. One that is not there is
// success.
func (r rule) remove(k *kernel.Kernel) error {
	c, err := k.Conn(kernel.Pod)
	if err != nil {
		return err
	}
	_, err = c.Request(netlink.Message{Type: unix.RTM_DELRULE, Body: r.raw})
	if errors.Is(err, unix.ENOENT) {
		return nil
	}
	return err
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
	return lists.Without(all, func(r rule) bool {
		return !slices.Contains(labels, r.label)
	})
}
