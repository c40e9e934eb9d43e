package othertables

import (
	"bytes"
	"encoding/binary"
	"slices"

	"golang.org/x/sys/unix"

	"github.com/catena-cni/catena/internal/firewall/nft/wire"
)

// Rule is a rule of another program's, as far as it tells whose it is and what
// becomes of packets.
type Rule struct {
	Handle uint64
	// Comment is the rule's, as nft or as iptables keeps it.
	Comment string
	// Verdict is the kernel's number (NF_* or NFT_*) for what becomes of every
	// packet that comes to the rule: NFT_CONTINUE where it depends on the packet.
	// A refusal is NF_DROP.
	Verdict int32
	// Jump is the chain that the rule jumps or goes to, if any.
	Jump string
	// Values are what the rule compares with and loads: addresses among others,
	// of which iptables leaves out the bytes that a mask does.
	Values [][]byte
}

// Names reports whether an address, an interface or whatever else stands in
// the rule.
func (r Rule) Names(value []byte) bool {
	return slices.ContainsFunc(r.Values, func(v []byte) bool { return bytes.Equal(v, value) })
}

func decode(answer []byte) Rule {
	r := Rule{Comment: wire.ReadComment(wire.Find(answer, unix.NFTA_RULE_USERDATA)), Verdict: unix.NFT_CONTINUE}
	if handle := wire.Find(answer, unix.NFTA_RULE_HANDLE); len(handle) == 8 {
		r.Handle = binary.BigEndian.Uint64(handle)
	}
	every := true // packet comes as far as this expression
	for _, e := range wire.Attrs(wire.Find(answer, unix.NFTA_RULE_EXPRESSIONS)) {
		name, data := wire.Text(wire.Find(e, unix.NFTA_EXPR_NAME)), wire.Find(e, unix.NFTA_EXPR_DATA)
		r.read(name, data)
		if every {
			r.Verdict, every = verdict(name, data)
		}
	}
	return r
}

// The attributes of iptables' matches and targets: NFTA_MATCH_*, NFTA_TARGET_*.
const (
	xtName = 1
	xtInfo = 3
)

// read takes what tells whose the rule is out of an expression.
func (r *Rule) read(name string, data []byte) {
	value := func(kind uint16) {
		if v := wire.Find(data, kind, unix.NFTA_DATA_VALUE); v != nil {
			r.Values = append(r.Values, v)
		}
	}
	switch name {
	case "cmp":
		value(unix.NFTA_CMP_DATA)
	case "immediate":
		value(unix.NFTA_IMMEDIATE_DATA)
		r.Jump = wire.Text(wire.Find(data, unix.NFTA_IMMEDIATE_DATA, unix.NFTA_DATA_VERDICT, unix.NFTA_VERDICT_CHAIN))
	case "match":
		if wire.Text(wire.Find(data, xtName)) == "comment" {
			r.Comment = unix.ByteSliceToString(wire.Find(data, xtInfo))
		}
	}
}

// verdict is what an expression makes of all packets, and whether they all come to
// the one behind it.
func verdict(name string, data []byte) (code int32, further bool) {
	switch xt := wire.Text(wire.Find(data, xtName)); {
	case name == "counter", name == "log", name == "match" && xt == "comment", name == "target" && (xt == "LOG" || xt == "NFLOG"):
		return unix.NFT_CONTINUE, true
	case name == "reject", name == "target" && xt == "REJECT":
		return wire.VerdictDrop, false
	case name == "immediate":
		if v := wire.Find(data, unix.NFTA_IMMEDIATE_DATA, unix.NFTA_DATA_VERDICT, unix.NFTA_VERDICT_CODE); v != nil {
			return int32(wire.Uint32(v)), false
		}
	}
	return unix.NFT_CONTINUE, false
}
