package conntrack

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"slices"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"

	"github.com/catena-cni/catena/internal/fact"
	"github.com/catena-cni/catena/internal/firewall/nft/wire"
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

// Attributes of linux/netfilter/nfnetlink_conntrack.h that nl does not have, and
// bits of the kernel's nf_internals.h.
const (
	ctaFilter     = 25
	ctaFilterOrig = 1      // CTA_FILTER_ORIG_FLAGS
	byProtocol    = 1 << 3 // CTA_FILTER_F_CTA_PROTO_NUM
	byDstPort     = 1 << 5 // CTA_FILTER_F_CTA_PROTO_DST_PORT
)

// remove removes the entries that are meant. An older kernel does not know the
// filter and gives all entries of the family; so each is looked at again here.
func remove(questions []question, meant func(entry) bool) error {
	if len(questions) == 0 {
		return nil
	}
	c, err := wire.Dial()
	if err != nil {
		return err
	}
	defer c.Close()
	return fact.ForEach(questions, func(q question) error {
		entries, err := q.ask(c)
		if err != nil {
			return err
		}
		entries = slices.DeleteFunc(entries, func(e entry) bool { return !meant(e) })
		return fact.ForEach(entries, func(e entry) error { return q.remove(c, e) })
	})
}

// message is one about the question's family.
func (q question) message(kind, flags uint16, body ...wire.Attr) wire.Message {
	family := map[bool]uint8{false: unix.AF_INET, true: unix.AF_INET6}[q.six]
	return wire.Message{Type: unix.NFNL_SUBSYS_CTNETLINK<<8 | kind, Flags: flags, Family: family, Body: body}
}

// ask gives the entries that the question is about.
func (q question) ask(c *wire.Conn) (entries []entry, err error) {
	// The values that count, and bits that say which do.
	proto, bits := []wire.Attr{wire.Bytes(nl.CTA_PROTO_NUM, []byte{q.protocol})}, uint32(byProtocol)
	if q.port != 0 {
		bits |= byDstPort
		proto = append(proto, wire.Bytes(nl.CTA_PROTO_DST_PORT, nl.BEUint16Attr(q.port)))
	}
	answers, err := c.Ask(q.message(nl.IPCTNL_MSG_CT_GET, unix.NLM_F_DUMP,
		wire.Nest(nl.CTA_TUPLE_ORIG, wire.Nest(nl.CTA_TUPLE_PROTO, proto...)),
		wire.Nest(ctaFilter, wire.Bytes(ctaFilterOrig, wire.Native(bits)))))
	switch {
	case errors.Is(err, unix.EINVAL), errors.Is(err, unix.EOPNOTSUPP):
		return nil, fmt.Errorf("the kernel cannot list flows (CONFIG_NF_CT_NETLINK): %w", err)
	case err != nil:
		return nil, fmt.Errorf("list flows: %w", err)
	}
	for _, a := range answers {
		if e := parse(a); e.host.IsValid() && e.pod.IsValid() {
			entries = append(entries, e)
		}
	}
	return entries, nil
}

// remove removes an entry, unless another has come in its place meanwhile, which
// its id tells.
func (q question) remove(c *wire.Conn, e entry) error {
	var name []wire.Attr
	for kind, value := range wire.Attrs(e.answer) {
		switch kind {
		case nl.CTA_TUPLE_ORIG:
			name = append(name, wire.Nest(kind, value))
		case nl.CTA_ID, nl.CTA_ZONE:
			name = append(name, wire.Bytes(kind, value))
		}
	}
	_, err := c.Ask(q.message(nl.IPCTNL_MSG_CT_DELETE, unix.NLM_F_ACK, name...))
	if err != nil && !errors.Is(err, unix.ENOENT) {
		return fmt.Errorf("forget a flow to %v: %w", e.host, err)
	}
	return nil
}

func parse(answer []byte) entry {
	e := entry{
		host:   end(wire.Find(answer, nl.CTA_TUPLE_ORIG), nl.CTA_IP_V4_DST, nl.CTA_IP_V6_DST, nl.CTA_PROTO_DST_PORT),
		pod:    end(wire.Find(answer, nl.CTA_TUPLE_REPLY), nl.CTA_IP_V4_SRC, nl.CTA_IP_V6_SRC, nl.CTA_PROTO_SRC_PORT),
		answer: answer,
	}
	if p := wire.Find(answer, nl.CTA_TUPLE_ORIG, nl.CTA_TUPLE_PROTO, nl.CTA_PROTO_NUM); len(p) == 1 {
		e.protocol = p[0]
	}
	return e
}

// end is one of the two ends of a tuple.
func end(tuple []byte, four, six, port uint16) (end netip.AddrPort) {
	address, ok := netip.AddrFromSlice(wire.Find(tuple, nl.CTA_TUPLE_IP, four))
	if !ok {
		address, _ = netip.AddrFromSlice(wire.Find(tuple, nl.CTA_TUPLE_IP, six))
	}
	if p := wire.Find(tuple, nl.CTA_TUPLE_PROTO, port); len(p) == 2 {
		end = netip.AddrPortFrom(address, binary.BigEndian.Uint16(p))
	}
	return end
}
