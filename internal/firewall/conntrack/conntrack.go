// Package conntrack makes the kernel forget the flows that it remembers of host
// ports. A flow keeps the way that its first packet took: a client of UDP or
// SCTP that goes on sending would never notice that a host port leads elsewhere
// now. TCP notices by itself.
package conntrack

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/catena-cni/catena/internal/fact/route"
	"github.com/catena-cni/catena/internal/kernel"
	"github.com/catena-cni/catena/internal/netlink"
)

// Flow is the connections by way of a range of host ports to a pod.
type Flow struct {
	Protocol uint8
	// Host is the host's address; 0.0.0.0 and :: are all of their family's.
	Host        netip.Addr
	First, Last uint16
	Pod         netip.Addr
	// PodPort is where the first of the host ports leads to, and the others to
	// those that follow.
	PodPort uint16
}

func (f Flow) String() string {
	ports := fmt.Sprint(f.First)
	if f.Last != f.First {
		ports = fmt.Sprintf("%d-%d", f.First, f.Last)
	}
	host := f.Host.String()
	if f.Host.Is6() {
		host = "[" + host + "]"
	}
	return fmt.Sprintf("%s %s:%s", map[uint8]string{unix.IPPROTO_UDP: "udp", unix.IPPROTO_SCTP: "sctp"}[f.Protocol], host, ports)
}

// has reports whether an entry is of a client that sends to one of the host
// ports, at an address that may be the host's.
func (f Flow) has(e entry) bool {
	return e.orig.protocol == f.Protocol && e.orig.dst.Addr().Is4() == f.Host.Is4() &&
		f.First <= e.orig.dst.Port() && e.orig.dst.Port() <= f.Last &&
		(f.Host.IsUnspecified() || f.Host == e.orig.dst.Addr())
}

// leads reports whether an entry goes where the host port leads.
func (f Flow) leads(e entry) bool {
	return e.reply.src == netip.AddrPortFrom(f.Pod, f.PodPort+e.orig.dst.Port()-f.First)
}

// Stale is that no flow to a host port leads elsewhere than to its pod.
type Stale struct{ Flows []Flow }

// Forget is the fact that is to follow after new mappings: flows to their host
// ports from before are forgotten. Those of TCP are left out.
func Forget(flows []Flow) Stale { return Stale{connectionless(flows)} }

func connectionless(flows []Flow) []Flow {
	return slices.DeleteFunc(slices.Clone(flows), func(f Flow) bool {
		return f.Protocol != unix.IPPROTO_UDP && f.Protocol != unix.IPPROTO_SCTP
	})
}

func (s Stale) String() string {
	words := make([]string, len(s.Flows))
	for i, f := range s.Flows {
		words[i] = f.String()
	}
	return "forget older flows to " + strings.Join(words, ", ")
}

// Idle says that there is nothing to forget.
func (s Stale) Idle() bool { return len(s.Flows) == 0 }

// Add forgets. What the kernel does not let be forgotten ends by itself in a
// while, so it fails no ADD.
func (s Stale) Add(k *kernel.Kernel) error {
	local := map[netip.Addr]bool{}
	isLocal := func(a netip.Addr) bool {
		is, known := local[a]
		if !known {
			out, err := route.Lookup(k, kernel.Host, a)
			is = err == nil && out.Local
			local[a] = is
		}
		return is
	}
	forget(s.Flows, queriesByPort(s.Flows), func(f Flow, e entry) bool {
		return !f.leads(e) && isLocal(e.orig.dst.Addr())
	})
	return nil
}

// Del does nothing: who removes the mappings calls ForgetGone after it.
func (Stale) Del(*kernel.Kernel) error { return nil }

// Check finds nothing: what flows there are is up to the clients.
func (Stale) Check(*kernel.Kernel) error { return nil }

// ForgetGone forgets the flows that lead to a pod by way of host ports that it
// has no more. It takes their ports on the pod's side as they come.
func ForgetGone(flows []Flow) {
	flows = connectionless(flows)
	forget(flows, queriesByPod(flows), func(f Flow, e entry) bool {
		return e.reply.src.Addr() == f.Pod && e.orig.dst.Addr() != f.Pod
	})
}

// forget asks for the entries that may be meant and removes those that are.
func forget(flows []Flow, queries []query, meant func(Flow, entry) bool) {
	if len(queries) == 0 {
		return
	}
	c, err := netlink.Dial(unix.NETLINK_NETFILTER)
	if err == nil {
		defer c.Close()
		for _, q := range queries {
			err = errors.Join(err, q.forget(c, func(e entry) bool {
				return slices.ContainsFunc(flows, func(f Flow) bool { return f.has(e) && meant(f, e) })
			}))
		}
	}
	if err != nil {
		fmt.Fprintf(os.Stderr, "older flows to %v go on until their clients pause: %v\n", flows, err)
	}
}

// query is what the kernel itself can tell entries by. Port 0 and no pod are
// any.
type query struct {
	family, protocol uint8
	port             uint16     // that the client sends to
	pod              netip.Addr // that answers
}

// manyPorts is from where on one walk over the kernel's table that gives all
// entries of the protocol is cheaper than one for each port.
const manyPorts = 8

func queriesByPort(flows []Flow) (out []query) {
	add := func(q query) {
		if !slices.Contains(out, q) {
			out = append(out, q)
		}
	}
	for _, f := range flows {
		all := query{family: family(f.Host), protocol: f.Protocol}
		if ports(flows, all) > manyPorts {
			add(all)
			continue
		}
		for port := int(f.First); port <= int(f.Last); port++ {
			one := all
			one.port = uint16(port)
			add(one)
		}
	}
	return out
}

// ports counts the ports of a family and protocol.
func ports(flows []Flow, of query) (n int) {
	for _, f := range flows {
		if f.Protocol == of.protocol && family(f.Host) == of.family {
			n += 1 + int(f.Last) - int(f.First)
		}
	}
	return n
}

// queriesByPod asks by what the kernel can tell apart: the answering pod's
// address for IPv4. For IPv6 it compares addresses the wrong way round
// (ctnetlink_filter_match_tuple, Linux 5.8 and later), so it is asked by ports.
func queriesByPod(flows []Flow) (out []query) {
	var six []Flow
	for _, f := range flows {
		q := query{unix.AF_INET, f.Protocol, 0, f.Pod}
		switch {
		case f.Pod.Is6():
			six = append(six, f)
		case !slices.Contains(out, q):
			out = append(out, q)
		}
	}
	return append(out, queriesByPort(six)...)
}

func family(a netip.Addr) uint8 {
	if a.Is4() {
		return unix.AF_INET
	}
	return unix.AF_INET6
}

// forget removes the entries that are meant. An older kernel does not know the
// filter and gives all entries of the family; so each is looked at again here.
func (q query) forget(c *netlink.Conn, meant func(entry) bool) error {
	answers, err := c.Dump(netlink.Message{Type: message(ctGet), Body: append(header(q.family), netlink.Join(q.filter()...)...)})
	if errors.Is(err, unix.EINVAL) || errors.Is(err, unix.EOPNOTSUPP) {
		return fmt.Errorf("the kernel cannot list flows (CONFIG_NF_CT_NETLINK): %w", err)
	}
	if err != nil {
		return fmt.Errorf("list flows: %w", err)
	}
	var errs []error
	for _, a := range answers {
		if e, ok := parse(a); ok && meant(e) {
			errs = append(errs, e.remove(c, q.family))
		}
	}
	return errors.Join(errs...)
}

func (q query) filter() []netlink.Attr {
	flags := uint32(byProtocol)
	proto := []netlink.Attr{netlink.U8(ctaProtoNum, q.protocol)}
	if q.port != 0 {
		flags |= byDstPort
		proto = append(proto, netlink.BE16(ctaProtoDstPort, q.port))
	}
	filters := []netlink.Attr{netlink.U32(ctaFilterOrig, flags)}
	attrs := []netlink.Attr{netlink.Nest(ctaTupleOrig, netlink.Nest(ctaTupleProto, proto...))}
	if q.pod.IsValid() {
		filters = append(filters, netlink.U32(ctaFilterReply, bySource))
		attrs = append(attrs, netlink.Nest(ctaTupleReply, netlink.Nest(ctaTupleIP, netlink.Bytes(ctaIPv4Src, q.pod.AsSlice()))))
	}
	return append(attrs, netlink.Nest(ctaFilter, filters...))
}

// header is struct nfgenmsg.
func header(family uint8) []byte { return []byte{family, unix.NFNETLINK_V0, 0, 0} }

func message(kind uint16) uint16 { return unix.NFNL_SUBSYS_CTNETLINK<<8 | kind }

// entry is a flow that the kernel remembers: its tuple as the client sends, and
// as the answers come.
type entry struct {
	orig, reply tuple
	// name is the attributes that name it to the kernel.
	name []netlink.Attr
}

type tuple struct {
	protocol uint8
	src, dst netip.AddrPort
}

func parse(b []byte) (e entry, ok bool) {
	for kind, data := range netlink.Attrs(b[min(len(b), 4):]) {
		switch kind {
		case ctaTupleOrig:
			e.orig = parseTuple(data)
			e.name = append(e.name, netlink.Bytes(kind|unix.NLA_F_NESTED, data))
		case ctaTupleReply:
			e.reply = parseTuple(data)
		case ctaID, ctaZone:
			e.name = append(e.name, netlink.Bytes(kind, data))
		}
	}
	return e, e.orig.dst.IsValid() && e.reply.src.IsValid()
}

func parseTuple(b []byte) (t tuple) {
	ip, proto := netlink.Find(b, ctaTupleIP), netlink.Find(b, ctaTupleProto)
	address := func(kinds ...uint16) netip.Addr {
		for _, kind := range kinds {
			if a, ok := netip.AddrFromSlice(netlink.Find(ip, kind)); ok {
				return a
			}
		}
		return netip.Addr{}
	}
	port := func(kind uint16) uint16 {
		if p := netlink.Find(proto, kind); len(p) == 2 {
			return binary.BigEndian.Uint16(p)
		}
		return 0
	}
	if p := netlink.Find(proto, ctaProtoNum); len(p) == 1 {
		t.protocol = p[0]
	}
	t.src = netip.AddrPortFrom(address(ctaIPv4Src, ctaIPv6Src), port(ctaProtoSrcPort))
	t.dst = netip.AddrPortFrom(address(ctaIPv4Dst, ctaIPv6Dst), port(ctaProtoDstPort))
	return t
}

// remove removes an entry, unless another has come in its place meanwhile,
// which its id tells.
func (e entry) remove(c *netlink.Conn, family uint8) error {
	_, err := c.Request(netlink.Message{Type: message(ctDelete), Body: append(header(family), netlink.Join(e.name...)...)})
	if err != nil && !errors.Is(err, unix.ENOENT) {
		return fmt.Errorf("forget the flow from %v to %v: %w", e.orig.src, e.orig.dst, err)
	}
	return nil
}

// Numbers of linux/netfilter/nfnetlink_conntrack.h, and those that the filter's
// bits have in the kernel's nf_internals.h.
const (
	ctGet    = 1
	ctDelete = 2

	ctaTupleOrig  = 1
	ctaTupleReply = 2
	ctaID         = 12
	ctaZone       = 18
	ctaFilter     = 25

	ctaTupleIP    = 1
	ctaTupleProto = 2

	ctaIPv4Src = 1
	ctaIPv4Dst = 2
	ctaIPv6Src = 3
	ctaIPv6Dst = 4

	ctaProtoNum     = 1
	ctaProtoSrcPort = 2
	ctaProtoDstPort = 3

	ctaFilterOrig  = 1
	ctaFilterReply = 2

	bySource   = 1 << 0 // CTA_FILTER_F_CTA_IP_SRC
	byProtocol = 1 << 3 // CTA_FILTER_F_CTA_PROTO_NUM
	byDstPort  = 1 << 5 // CTA_FILTER_F_CTA_PROTO_DST_PORT
)
