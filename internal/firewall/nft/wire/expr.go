package wire

import (
	"encoding/binary"

	"golang.org/x/sys/unix"
)

// Expr is an expression of a rule (linux/netfilter/nf_tables.h). A value is
// loaded into a register, and compared or looked up there. Registers count 4
// bytes each; a concatenation lies in registers that follow one another.
type Expr = Attr

// Reg is the n-th 4-byte register.
func Reg(n int) uint32 { return uint32(unix.NFT_REG32_00 + n) }

// Expression is one by its name and attributes.
func Expression(name string, parts ...Attr) Expr {
	return Nest(unix.NFTA_LIST_ELEM, String(unix.NFTA_EXPR_NAME, name), Nest(unix.NFTA_EXPR_DATA, parts...))
}

// Meta loads what the kernel knows of a packet beside its content.
func Meta(key uint32, to uint32) Expr {
	return Expression("meta", U32(unix.NFTA_META_KEY, key), U32(unix.NFTA_META_DREG, to))
}

// SetMark makes what a register holds the packet's mark.
func SetMark(from uint32) Expr {
	return Expression("meta", U32(unix.NFTA_META_KEY, unix.NFT_META_MARK), U32(unix.NFTA_META_SREG, from))
}

// Payload loads some of a packet's bytes.
func Payload(base, offset, size, to uint32) Expr {
	return Expression("payload", U32(unix.NFTA_PAYLOAD_DREG, to), U32(unix.NFTA_PAYLOAD_BASE, base),
		U32(unix.NFTA_PAYLOAD_OFFSET, offset), U32(unix.NFTA_PAYLOAD_LEN, size))
}

// Value is data as most attributes hold it.
func Value(kind uint16, data []byte) Attr { return Nest(kind, Bytes(unix.NFTA_DATA_VALUE, data)) }

// Compare compares a register with a value (unix.NFT_CMP_*).
func Compare(op, in uint32, data []byte) Expr {
	return Expression("cmp", U32(unix.NFTA_CMP_SREG, in), U32(unix.NFTA_CMP_OP, op), Value(unix.NFTA_CMP_DATA, data))
}

// Bitwise makes a register's value itself & mask ^ xor.
func Bitwise(in uint32, mask, xor []byte) Expr {
	return Expression("bitwise", U32(unix.NFTA_BITWISE_SREG, in), U32(unix.NFTA_BITWISE_DREG, in),
		U32(unix.NFTA_BITWISE_LEN, uint32(len(mask))), Value(unix.NFTA_BITWISE_MASK, mask), Value(unix.NFTA_BITWISE_XOR, xor))
}

// Mask makes a register's value itself & mask.
func Mask(in uint32, mask []byte) Expr { return Bitwise(in, mask, make([]byte, len(mask))) }

// Lookup matches where the set has what the registers hold.
func Lookup(set string, in uint32, more ...Attr) Expr {
	return Expression("lookup", append([]Attr{String(unix.NFTA_LOOKUP_SET, set), U32(unix.NFTA_LOOKUP_SREG, in)}, more...)...)
}

// LookupNot matches where the set has it not.
func LookupNot(set string, in uint32) Expr {
	return Lookup(set, in, U32(unix.NFTA_LOOKUP_FLAGS, unix.NFT_LOOKUP_F_INV))
}

// LookupInto loads what the map has for it.
func LookupInto(set string, in, to uint32) Expr {
	return Lookup(set, in, U32(unix.NFTA_LOOKUP_DREG, to))
}

// LookupAnonymous looks into a set without a name, which the batch made before
// the rule under that number.
func LookupAnonymous(id, in uint32, more ...Attr) Expr {
	return Lookup(anonymousName, in, append(more, U32(unix.NFTA_LOOKUP_SET_ID, id))...)
}

// InRange matches what lies between two values, both included.
func InRange(op, in uint32, first, last []byte) Expr {
	return Expression("range", U32(unix.NFTA_RANGE_SREG, in), U32(unix.NFTA_RANGE_OP, op),
		Value(unix.NFTA_RANGE_FROM_DATA, first), Value(unix.NFTA_RANGE_TO_DATA, last))
}

// Verdicts of linux/netfilter.h.
const (
	VerdictDrop   = 0
	VerdictAccept = 1
)

func verdict(code int32, chain string) Expr {
	return Expression("immediate", U32(unix.NFTA_IMMEDIATE_DREG, unix.NFT_REG_VERDICT), Nest(unix.NFTA_IMMEDIATE_DATA, verdictData(code, chain)))
}

func verdictData(code int32, chain string) Attr {
	parts := []Attr{U32(unix.NFTA_VERDICT_CODE, uint32(code))}
	if chain != "" {
		parts = append(parts, String(unix.NFTA_VERDICT_CHAIN, chain))
	}
	return Nest(unix.NFTA_DATA_VERDICT, parts...)
}

// Drop drops the packet.
func Drop() Expr { return verdict(VerdictDrop, "") }

// Accept ends the hook's chain.
func Accept() Expr { return verdict(VerdictAccept, "") }

// Return ends the chain; a base chain's policy follows.
func Return() Expr { return verdict(unix.NFT_RETURN, "") }

// Jump goes on in a chain, and comes back.
func Jump(chain string) Expr { return verdict(unix.NFT_JUMP, chain) }

// Masquerade gives the packet the address of the link that it leaves by.
func Masquerade() Expr { return Expression("masq") }

// DNAT sends the packet to the address in one register and the port in another.
func DNAT(family uint8, address, port uint32) Expr {
	return Expression("nat", U32(unix.NFTA_NAT_TYPE, unix.NFT_NAT_DNAT), U32(unix.NFTA_NAT_FAMILY, uint32(family)),
		U32(unix.NFTA_NAT_REG_ADDR_MIN, address), U32(unix.NFTA_NAT_REG_PROTO_MIN, port))
}

// LocalDestination matches packets to an address of the host's own.
func LocalDestination() []Expr {
	load := Expression("fib", U32(unix.NFTA_FIB_DREG, Reg(0)), U32(unix.NFTA_FIB_RESULT, unix.NFT_FIB_RESULT_ADDRTYPE),
		U32(unix.NFTA_FIB_FLAGS, unix.NFTA_FIB_F_DADDR))
	return []Expr{load, Compare(unix.NFT_CMP_EQ, Reg(0), Native(unix.RTN_LOCAL))}
}

// Family matches the packets of one IP family (unix.NFPROTO_*).
func Family(number byte) []Expr {
	return []Expr{Meta(unix.NFT_META_NFPROTO, Reg(0)), Compare(unix.NFT_CMP_EQ, Reg(0), []byte{number})}
}

// ConntrackState loads the state of the packet's connection, a bit of several.
func ConntrackState() Expr {
	return Expression("ct", U32(unix.NFTA_CT_DREG, Reg(0)), U32(unix.NFTA_CT_KEY, unix.NFT_CT_STATE))
}

// Native is a number as the kernel has it in a register: in the machine's order.
func Native(n uint32) []byte { return binary.NativeEndian.AppendUint32(nil, n) }

// IfName is a link's name as nftables compares it: padded with zeros.
func IfName(name string) []byte {
	b := make([]byte, unix.IFNAMSIZ)
	copy(b, name)
	return b
}
