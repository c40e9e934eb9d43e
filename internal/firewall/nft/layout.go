package nft

import (
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/catena-cni/catena/internal/firewall/nft/wire"
)

// table is a table of ours: rules never come and go with pods, members of its
// sets do.
type table struct {
	wire.Table
	comment string
	sets    []wire.Set
	// bySize are sets that are made when they are needed: see networkSet.
	bySize []wire.Set
	// chains are made when they are needed: most calls send members alone, and a
	// plugin starts for every pod and verb.
	chains func() []chain
}

type chain struct {
	name  string
	hook  *wire.Hook
	rules []wire.Rule
	// grows says that profiles and sets add rules, which stay when the static
	// part is sent again.
	grows bool
}

// layout is the set whose name tells which static part a table has. Every batch
// of members adds its element: where the set is missing, the kernel refuses the
// batch, and it is sent again behind the static part.
var layout = wire.Set{Name: "layout1", Key: []wire.Datatype{wire.MarkType}}

var layoutElement = wire.Element{Set: layout.Name, Key: wire.Native(1)}

// static is the whole of the table but for the element of layout. It can be sent
// when some of it or all is there: sets and their members stay, chains are
// emptied and filled again, and as a batch is one transaction there is no moment
// without rules.
func (t *table) static() []wire.Message {
	batch := []wire.Message{t.NewTable(t.comment)}
	for i, s := range append([]wire.Set{layout}, t.sets...) {
		batch = append(batch, t.NewSet(s, uint32(i+1)))
	}
	chains := t.chains()
	for _, c := range chains {
		batch = append(batch, t.NewChain(c.name, c.hook))
		if !c.grows {
			batch = append(batch, t.Flush(c.name))
		}
	}
	for _, c := range chains {
		batch = append(batch, t.NewRules(c.name, c.rules...)...)
	}
	return batch
}

// Numbers of the anonymous sets of a batch begin above those of the named ones:
// of the static part's, and of a profile's.
const (
	staticIDs  = 100
	profileIDs = 200
)

// part is messages that make something which stays. The first is refused where
// it is there already, so that of two who make it at once its rules come in only
// once.
type part []wire.Message

// exclusively is a message that is refused where it has come true already.
func exclusively(m wire.Message) wire.Message {
	m.Flags |= unix.NLM_F_EXCL
	return m
}

// networkSet is a set of networks of one prefix length, by its name, and the rule
// that looks into it: hairpin4_24 is hairpin4 with networks of 24 bits, and
// hairpin4_24_033df22c the same for a profile. Sets with ranges would do without
// the lengths, and each member would cost more the more there are.
func (t *table) networkSet(name string, p *Profile) part {
	base, rest, _ := strings.Cut(name, "_")
	length, suffix, profiled := strings.Cut(rest, "_")
	i := slices.IndexFunc(t.bySize, func(s wire.Set) bool { return s.Name == base })
	bits, err := strconv.Atoi(length)
	if i < 0 || err != nil || bits < 0 || profiled && (p == nil || p.suffix() != "_"+suffix) {
		return nil
	}
	s := t.bySize[i]
	f := familyOf(base)
	if bits > f.whole() {
		return nil
	}
	s.Name = name
	chain, rule := "samesubnet", f.sameSubnetRule(name, bits)
	if strings.Contains(base, "hairpin") {
		markBit := DefaultMarkBit
		chain = "hairpin"
		if profiled {
			chain, markBit = "ports"+p.suffix(), p.MarkBit
		}
		rule = f.hairpinRule(name, bits, markBit, strings.HasPrefix(base, "addr"))
	}
	return append(part{exclusively(t.NewSet(s, 1))}, t.NewRule(0, chain, rule)...)
}

// has reports whether a set is one of the table's. The name of a profile's set, or
// of one of networks, has a suffix.
func (t *table) has(name string) bool {
	base, _, _ := strings.Cut(name, "_")
	return slices.ContainsFunc(slices.Concat(t.sets, t.bySize), func(s wire.Set) bool { return s.Name == base })
}

// family is how packets of one IP family are matched: where its addresses are in
// the header, and how large they are.
type family struct {
	number       uint8
	saddr, daddr uint32
	size         uint32
}

var (
	ipv4 = family{unix.NFPROTO_IPV4, 12, 16, 4}
	ipv6 = family{unix.NFPROTO_IPV6, 8, 24, 16}
)

// familyOf is the one that the name of a set ends in.
func familyOf(set string) family {
	if strings.HasSuffix(set, "6") {
		return ipv6
	}
	return ipv4
}

func (f family) match() []wire.Expr { return wire.Family(f.number) }

// load loads an address of the header into the n-th register, and the bits of
// its network where they are not all.
func (f family) load(offset uint32, n int, bits int) []wire.Expr {
	load := wire.One(wire.Payload(unix.NFT_PAYLOAD_NETWORK_HEADER, offset, f.size, wire.Reg(n)))
	if bits < f.whole() {
		load = append(load, wire.Mask(wire.Reg(n), net.CIDRMask(bits, f.whole())))
	}
	return load
}

// whole is the bits of an address.
func (f family) whole() int { return 8 * int(f.size) }

// registers is how many an address takes.
func (f family) registers() int { return int(f.size / 4) }

// has matches the packets one of whose addresses a set has.
func (f family) has(offset uint32, set string, then ...wire.Expr) []wire.Expr {
	return slices.Concat(f.match(), f.load(offset, 0, f.whole()), wire.One(wire.Lookup(set, wire.Reg(0))), then)
}

// within matches those one of whose addresses is of a network.
func (f family) within(offset uint32, network string) []wire.Expr {
	p := netip.MustParsePrefix(network)
	return slices.Concat(f.match(), f.load(offset, 0, p.Bits()), wire.One(wire.Compare(unix.NFT_CMP_EQ, wire.Reg(0), p.Addr().AsSlice())))
}

// port loads destination port and protocol and, for host ports at one address,
// the destination address.
func (f family) port(n int, address bool) []wire.Expr {
	load := wire.One(wire.Payload(unix.NFT_PAYLOAD_TRANSPORT_HEADER, 2, 2, wire.Reg(n)), wire.Meta(unix.NFT_META_L4PROTO, wire.Reg(n+1)))
	if address {
		load = append(load, f.load(f.daddr, n+2, f.whole())...)
	}
	return load
}

// portRule leads host ports to pods. Only a rule for the protocols that have
// ports may change one.
func (f family) portRule(set string, address bool, id uint32) wire.Rule {
	r := wire.Match(wire.One(wire.Meta(unix.NFT_META_L4PROTO, wire.Reg(0)), wire.LookupAnonymous(id, wire.Reg(0))), f.match(), f.port(0, address),
		wire.One(wire.LookupInto(set, wire.Reg(0), wire.Reg(0)), wire.DNAT(f.number, wire.Reg(0), wire.Reg(f.registers()))))
	r.Anonymous = []wire.Anonymous{{ID: id, Of: wire.InetProto, Spans: []wire.Span{
		wire.Only([]byte{unix.IPPROTO_TCP}), wire.Only([]byte{unix.IPPROTO_UDP}), wire.Only([]byte{unix.IPPROTO_SCTP}),
	}}}
	return r
}

// hairpinRule marks what comes from a network to one of its ports.
func (f family) hairpinRule(set string, bits, markBit int, address bool) wire.Rule {
	return wire.Match(f.match(), f.load(f.saddr, 0, bits), f.port(f.registers(), address), wire.One(wire.Lookup(set, wire.Reg(0))), mark(markBit))
}

// sameSubnetRule lets what stays inside a subnet go.
func (f family) sameSubnetRule(set string, bits int) wire.Rule {
	return wire.Match(f.match(), f.load(f.saddr, 0, bits), f.load(f.daddr, f.registers(), bits), wire.One(wire.Lookup(set, wire.Reg(0)), wire.Accept()))
}

// portRules lead to pods: a host port at one address before those at all of
// them. The numbers of their anonymous sets begin at id.
func portRules(suffix string, id uint32) []wire.Rule {
	return []wire.Rule{
		ipv4.portRule("addrports4"+suffix, true, id), ipv6.portRule("addrports6"+suffix, true, id+1),
		ipv4.portRule("hostports4"+suffix, false, id+2), ipv6.portRule("hostports6"+suffix, false, id+3),
	}
}

func mark(bit int) []wire.Expr { return changeMark(^(uint32(1) << bit), 1<<bit) }

func unmark(bit int) []wire.Expr { return changeMark(^(uint32(1) << bit), 0) }

func changeMark(mask, xor uint32) []wire.Expr {
	return wire.One(wire.Meta(unix.NFT_META_MARK, wire.Reg(0)), wire.Bitwise(wire.Reg(0), wire.Native(mask), wire.Native(xor)), wire.SetMark(wire.Reg(0)))
}

// marked matches packets with the bit.
func marked(bit int) []wire.Expr {
	m := wire.Native(uint32(1) << bit)
	return wire.One(wire.Meta(unix.NFT_META_MARK, wire.Reg(0)), wire.Mask(wire.Reg(0), m), wire.Compare(unix.NFT_CMP_EQ, wire.Reg(0), m))
}

func masqueradeMarked(bit int) wire.Rule {
	return wire.Match(marked(bit), wire.One(wire.Masquerade()))
}

// invalid matches packets that conntrack can place nowhere.
func invalid() []wire.Expr {
	const stateInvalid = 1 // NF_CT_STATE_INVALID_BIT
	return wire.One(wire.ConntrackState(), wire.Mask(wire.Reg(0), wire.Native(stateInvalid)), wire.Compare(unix.NFT_CMP_NEQ, wire.Reg(0), wire.Native(0)))
}
