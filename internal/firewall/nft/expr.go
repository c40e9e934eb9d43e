package nft

import (
	"encoding/binary"

	"golang.org/x/sys/unix"
)

// The expressions of nf_tables that our rules are made of, each a few
// attributes (linux/netfilter/nf_tables.h). A value is loaded into a register,
// and compared or looked up there. Registers count 4 bytes each; a
// concatenation lies in registers that follow one another.
type expr = attr

// reg is the n-th 4-byte register.
func reg(n int) uint32 { return uint32(unix.NFT_REG32_00 + n) }

func expression(name string, parts ...attr) expr {
	return nest(unix.NFTA_LIST_ELEM, stringAttr(unix.NFTA_EXPR_NAME, name), nest(unix.NFTA_EXPR_DATA, parts...))
}

func meta(key uint32, to uint32) expr {
	return expression("meta", u32Attr(unix.NFTA_META_KEY, key), u32Attr(unix.NFTA_META_DREG, to))
}

func setMark(from uint32) expr {
	return expression("meta", u32Attr(unix.NFTA_META_KEY, unix.NFT_META_MARK), u32Attr(unix.NFTA_META_SREG, from))
}

func payload(base, offset, size, to uint32) expr {
	return expression("payload", u32Attr(unix.NFTA_PAYLOAD_DREG, to), u32Attr(unix.NFTA_PAYLOAD_BASE, base),
		u32Attr(unix.NFTA_PAYLOAD_OFFSET, offset), u32Attr(unix.NFTA_PAYLOAD_LEN, size))
}

func value(kind uint16, data []byte) attr { return nest(kind, bytesAttr(unix.NFTA_DATA_VALUE, data)) }

func cmp(op, in uint32, data []byte) expr {
	return expression("cmp", u32Attr(unix.NFTA_CMP_SREG, in), u32Attr(unix.NFTA_CMP_OP, op), value(unix.NFTA_CMP_DATA, data))
}

func bitwise(in, size uint32, mask, xor []byte) expr {
	return expression("bitwise", u32Attr(unix.NFTA_BITWISE_SREG, in), u32Attr(unix.NFTA_BITWISE_DREG, in),
		u32Attr(unix.NFTA_BITWISE_LEN, size), value(unix.NFTA_BITWISE_MASK, mask), value(unix.NFTA_BITWISE_XOR, xor))
}

// lookup matches where the set has what the registers hold.
func lookup(set string, in uint32, more ...attr) expr {
	parts := append([]attr{stringAttr(unix.NFTA_LOOKUP_SET, set), u32Attr(unix.NFTA_LOOKUP_SREG, in)}, more...)
	return expression("lookup", parts...)
}

// lookupNot matches where the set has it not.
func lookupNot(set string, in uint32) expr {
	return lookup(set, in, u32Attr(unix.NFTA_LOOKUP_FLAGS, unix.NFT_LOOKUP_F_INV))
}

// lookupInto loads what the map has for it.
func lookupInto(set string, in, to uint32) expr {
	return lookup(set, in, u32Attr(unix.NFTA_LOOKUP_DREG, to))
}

// lookupAnonymous looks into a set without a name, which the batch made before
// the rule under that number.
func lookupAnonymous(id, in uint32, more ...attr) expr {
	return lookup("__set%d", in, append(more, u32Attr(unix.NFTA_LOOKUP_SET_ID, id))...)
}

// inRange matches what lies between two values, both included.
func inRange(op, in uint32, first, last []byte) expr {
	return expression("range", u32Attr(unix.NFTA_RANGE_SREG, in), u32Attr(unix.NFTA_RANGE_OP, op),
		value(unix.NFTA_RANGE_FROM_DATA, first), value(unix.NFTA_RANGE_TO_DATA, last))
}

func verdict(code int32, chain string) expr {
	data := nest(unix.NFTA_IMMEDIATE_DATA, verdictData(code, chain))
	return expression("immediate", u32Attr(unix.NFTA_IMMEDIATE_DREG, unix.NFT_REG_VERDICT), data)
}

func verdictData(code int32, chain string) attr {
	parts := []attr{u32Attr(unix.NFTA_VERDICT_CODE, uint32(code))}
	if chain != "" {
		parts = append(parts, stringAttr(unix.NFTA_VERDICT_CHAIN, chain))
	}
	return nest(unix.NFTA_DATA_VERDICT, parts...)
}

// Verdicts of linux/netfilter.h.
const (
	verdictDrop   = 0
	verdictAccept = 1
)

func drop() expr             { return verdict(verdictDrop, "") }
func accept() expr           { return verdict(verdictAccept, "") }
func leave() expr            { return verdict(unix.NFT_RETURN, "") }
func jump(chain string) expr { return verdict(unix.NFT_JUMP, chain) }
func masquerade() expr       { return expression("masq") }

// dnat sends the packet to the address in one register and, where port is not
// 0, the port in another.
func dnat(family uint8, address, port uint32) expr {
	parts := []attr{
		u32Attr(unix.NFTA_NAT_TYPE, unix.NFT_NAT_DNAT), u32Attr(unix.NFTA_NAT_FAMILY, uint32(family)),
		u32Attr(unix.NFTA_NAT_REG_ADDR_MIN, address),
	}
	if port != 0 {
		parts = append(parts, u32Attr(unix.NFTA_NAT_REG_PROTO_MIN, port))
	}
	return expression("nat", parts...)
}

// localDestination matches packets to an address of the host's own.
func localDestination() []expr {
	load := expression("fib", u32Attr(unix.NFTA_FIB_DREG, reg(0)), u32Attr(unix.NFTA_FIB_RESULT, unix.NFT_FIB_RESULT_ADDRTYPE),
		u32Attr(unix.NFTA_FIB_FLAGS, unix.NFTA_FIB_F_DADDR))
	return []expr{load, cmp(unix.NFT_CMP_EQ, reg(0), native(unix.RTN_LOCAL))}
}

func native(n uint32) []byte { return binary.NativeEndian.AppendUint32(nil, n) }

// family4 and family6 match the packets of one IP family.
func family4() []expr { return family(unix.NFPROTO_IPV4) }
func family6() []expr { return family(unix.NFPROTO_IPV6) }

func family(proto byte) []expr {
	return []expr{meta(unix.NFT_META_NFPROTO, reg(0)), cmp(unix.NFT_CMP_EQ, reg(0), []byte{proto})}
}

// ifnameBytes is an interface name as nftables compares it: padded with zeros.
func ifnameBytes(name string) []byte {
	b := make([]byte, unix.IFNAMSIZ)
	copy(b, name)
	return b
}

// invalid matches packets that conntrack can place nowhere.
func invalid() []expr {
	load := expression("ct", u32Attr(unix.NFTA_CT_DREG, reg(0)), u32Attr(unix.NFTA_CT_KEY, unix.NFT_CT_STATE))
	const stateInvalid = 1 // NF_CT_STATE_INVALID_BIT
	return []expr{load, bitwise(reg(0), 4, native(stateInvalid), native(0)), cmp(unix.NFT_CMP_NEQ, reg(0), native(0))}
}
