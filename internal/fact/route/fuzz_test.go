package route

import (
	"net/netip"
	"slices"
	"testing"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"

	"github.com/catena-cni/catena/internal/kerneltest"
	"github.com/catena-cni/catena/internal/state/name"
)

// FuzzRecord reads records of any content.
func FuzzRecord(f *testing.F) {
	kerneltest.FuzzRecords(f, backRecords, Back{
		Owner: name.Attachment{Network: "n", ContainerID: "c1", IfName: "eth0"}, Link: "cni0", Addrs: []netip.Addr{netip.MustParseAddr("10.1.2.3")},
	})
}

// answer is one about a route or a rule.
func answer(m unix.RtMsg, attrs ...*nl.RtAttr) []byte {
	b := (&nl.RtMsg{RtMsg: m}).Serialize()
	for _, a := range attrs {
		b = append(b, a.Serialize()...)
	}
	return b
}

// FuzzAnswer reads the kernel's answers about routes and rules, torn ones too: the next
// hops of a route over several links are written as they were read.
func FuzzAnswer(f *testing.F) {
	hop := slices.Concat([]byte{16, 0, 4, 0, 2, 0, 0, 0}, nl.NewRtAttr(unix.RTA_GATEWAY, []byte{10, 1, 2, 1}).Serialize())
	f.Add(answer(unix.RtMsg{Family: unix.AF_INET, Dst_len: 16, Table: 254, Type: unix.RTN_UNICAST},
		nl.NewRtAttr(unix.RTA_DST, []byte{10, 7, 0, 0}), nl.NewRtAttr(unix.RTA_GATEWAY, []byte{10, 1, 2, 1}), nl.NewRtAttr(unix.RTA_OIF, nl.Uint32Attr(2)),
		nl.NewRtAttr(unix.RTA_PRIORITY, nl.Uint32Attr(5)), nl.NewRtAttr(unix.RTA_PREFSRC, []byte{10, 1, 2, 3})))
	f.Add(answer(unix.RtMsg{Family: unix.AF_INET6, Type: unix.RTN_UNICAST}, nl.NewRtAttr(unix.RTA_MULTIPATH, slices.Concat(hop, hop)), nl.NewRtAttr(attrObject, nl.Uint32Attr(1))))
	f.Add(answer(unix.RtMsg{Family: unix.AF_INET, Src_len: 32, Type: unix.FR_ACT_TO_TBL},
		nl.NewRtAttr(nl.FRA_SRC, []byte{10, 1, 2, 3}), nl.NewRtAttr(nl.FRA_TABLE, nl.Uint32Attr(100)), nl.NewRtAttr(nl.FRA_PROTOCOL, []byte{202}),
		nl.NewRtAttr(nl.FRA_FWMARK, nl.Uint32Attr(7)), nl.NewRtAttr(nl.FRA_FWMASK, nl.Uint32Attr(0))))
	f.Add(answer(unix.RtMsg{}, nl.NewRtAttr(nl.FRA_PROTOCOL, nil)))
	f.Add(append(answer(unix.RtMsg{}), 5, 0, 1, 0, 1))
	f.Fuzz(func(t *testing.T, b []byte) {
		if len(b) < unix.SizeofRtMsg {
			return // an answer has its header: rtnetlink(7)
		}
		rule := parseRule(b)
		if rule.plain && rule.label == 0 && rule.src.IsValid() && rule.src.Bits() > rule.src.Addr().BitLen() {
			t.Errorf("from %v", rule.src)
		}
		r, err := parse(b)
		if err != nil {
			return
		}
		if r.Dst.IsValid() && r.Dst.Bits() > r.Dst.Addr().BitLen() {
			t.Errorf("to %v", r.Dst)
		}
		for _, h := range r.hops {
			own, ok := r.of(h.link)
			if ok && h.raw != nil && len(multipath(joinHops(own.hops))) != len(own.hops) {
				t.Errorf("%v are written as %v", own.hops, multipath(joinHops(own.hops)))
			}
		}
	})
}
