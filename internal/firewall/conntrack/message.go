package conntrack

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"time"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"

	"github.com/catena-cni/catena/internal/firewall/nft/wire"
	"github.com/catena-cni/catena/internal/kernel"
)

// The messages are by hand: the library's ConntrackDeleteFilters reads the whole
// table of a family into the process, which on a node with a busy DNS server is
// a hundred thousand flows, and names a flow to delete by its tuple, which may be
// another's by then.

// question is what the kernel itself can tell entries by. Port 0 is any.
type question struct {
	protocol uint8
	six      bool   // IPv6
	port     uint16 // that the client sends to
}

// entry is a flow in the kernel's table.
type entry struct {
	protocol uint8
	host     netip.AddrPort // that the client sends to
	pod      netip.AddrPort // that answers
	answer   []byte
}

// Attributes that hold others.
const (
	tupleOrig  = nl.CTA_TUPLE_ORIG | unix.NLA_F_NESTED
	tupleReply = nl.CTA_TUPLE_REPLY | unix.NLA_F_NESTED
	tupleIP    = nl.CTA_TUPLE_IP | unix.NLA_F_NESTED
	tupleProto = nl.CTA_TUPLE_PROTO | unix.NLA_F_NESTED
	filter     = 25 | unix.NLA_F_NESTED // CTA_FILTER of linux/netfilter/nfnetlink_conntrack.h
)

// The attribute inside the filter, and its bits in the kernel's nf_internals.h.
const (
	filterOrig = 1      // CTA_FILTER_ORIG_FLAGS
	byProtocol = 1 << 3 // CTA_FILTER_F_CTA_PROTO_NUM
	byDstPort  = 1 << 5 // CTA_FILTER_F_CTA_PROTO_DST_PORT
)

// patience bounds the wait for one answer.
const patience = 30 * time.Second

// remove removes the entries that are meant. An older kernel does not know the
// filter and gives all entries of the family; so each is looked at again here.
func remove(questions []question, meant func(entry) bool) error {
	if len(questions) == 0 {
		return nil
	}
	socket, err := nl.Subscribe(unix.NETLINK_NETFILTER)
	if err != nil {
		return fmt.Errorf("netlink socket: %w", err)
	}
	defer wire.Close(socket)
	limit := unix.NsecToTimeval(int64(patience))
	if err := socket.SetReceiveTimeout(&limit); err != nil {
		return fmt.Errorf("netlink socket: %w", err)
	}
	s := &nl.SocketHandle{Socket: socket}
	var errs []error
	for _, q := range questions {
		entries, err := q.ask(s)
		errs = append(errs, err)
		for _, e := range entries {
			if meant(e) {
				errs = append(errs, q.remove(s, e))
			}
		}
	}
	return errors.Join(errs...)
}

// execute makes a request about the question's family.
func (q question) execute(s *nl.SocketHandle, kind, flags int, attrs ...*nl.RtAttr) ([][]byte, error) {
	r := nl.NewNetlinkRequest(unix.NFNL_SUBSYS_CTNETLINK<<8|kind, flags)
	r.Sockets = map[int]*nl.SocketHandle{unix.NETLINK_NETFILTER: s}
	family := map[bool]uint8{false: unix.AF_INET, true: unix.AF_INET6}[q.six]
	r.AddData(&nl.Nfgenmsg{NfgenFamily: family, Version: nl.NFNETLINK_V0})
	for _, a := range attrs {
		r.AddData(a)
	}
	return r.Execute(unix.NETLINK_NETFILTER, 0)
}

// ask gives the entries that the question is about.
func (q question) ask(s *nl.SocketHandle) (entries []entry, err error) {
	// The values that count, and bits that say which do.
	orig, counts, bits := nl.NewRtAttr(tupleOrig, nil), nl.NewRtAttr(filter, nil), uint32(byProtocol)
	proto := orig.AddRtAttr(tupleProto, nil)
	proto.AddRtAttr(nl.CTA_PROTO_NUM, nl.Uint8Attr(q.protocol))
	if q.port != 0 {
		bits |= byDstPort
		proto.AddRtAttr(nl.CTA_PROTO_DST_PORT, nl.BEUint16Attr(q.port))
	}
	counts.AddRtAttr(filterOrig, nl.Uint32Attr(bits))
	answers, err := kernel.List(func() ([][]byte, error) {
		return q.execute(s, nl.IPCTNL_MSG_CT_GET, unix.NLM_F_DUMP, orig, counts)
	})
	switch {
	case errors.Is(err, unix.EINVAL), errors.Is(err, unix.EOPNOTSUPP):
		return nil, fmt.Errorf("the kernel cannot list flows (CONFIG_NF_CT_NETLINK): %w", err)
	case err != nil:
		return nil, fmt.Errorf("list flows: %w", err)
	}
	for _, a := range answers {
		if e := parse(a[min(len(a), nl.SizeofNfgenmsg):]); e.host.IsValid() && e.pod.IsValid() {
			entries = append(entries, e)
		}
	}
	return entries, nil
}

// remove removes an entry, unless another has come in its place meanwhile, which
// its id tells.
func (q question) remove(s *nl.SocketHandle, e entry) error {
	var name []*nl.RtAttr
	for _, kind := range []int{tupleOrig, nl.CTA_ID, nl.CTA_ZONE} {
		if value := find(e.answer, kind); value != nil {
			name = append(name, nl.NewRtAttr(kind, value))
		}
	}
	_, err := q.execute(s, nl.IPCTNL_MSG_CT_DELETE, unix.NLM_F_ACK, name...)
	if err != nil && !errors.Is(err, unix.ENOENT) {
		return fmt.Errorf("forget a flow to %v: %w", e.host, err)
	}
	return nil
}

func parse(answer []byte) entry {
	e := entry{
		host:   end(find(answer, tupleOrig), nl.CTA_IP_V4_DST, nl.CTA_IP_V6_DST, nl.CTA_PROTO_DST_PORT),
		pod:    end(find(answer, tupleReply), nl.CTA_IP_V4_SRC, nl.CTA_IP_V6_SRC, nl.CTA_PROTO_SRC_PORT),
		answer: answer,
	}
	if p := find(answer, tupleOrig, tupleProto, nl.CTA_PROTO_NUM); len(p) == 1 {
		e.protocol = p[0]
	}
	return e
}

// end is one of the two ends of a tuple.
func end(tuple []byte, four, six, port int) (end netip.AddrPort) {
	address, ok := netip.AddrFromSlice(find(tuple, tupleIP, four))
	if !ok {
		address, _ = netip.AddrFromSlice(find(tuple, tupleIP, six))
	}
	if p := find(tuple, tupleProto, port); len(p) == 2 {
		end = netip.AddrPortFrom(address, binary.BigEndian.Uint16(p))
	}
	return end
}

// find gives what the attribute holds that kinds lead to, each inside the one
// before it.
func find(b []byte, kinds ...int) []byte {
	for _, kind := range kinds {
		attrs, _ := kernel.AttrsByKind(b) // a torn one ends them
		b = attrs[uint16(kind)].Value
	}
	return b
}
