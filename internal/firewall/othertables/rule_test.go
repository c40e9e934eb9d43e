package othertables

import (
	"slices"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/catena-cni/catena/internal/firewall/nft/wire"
)

// FuzzRule reads rules of other programs, torn ones too: the comment, the jump and the
// addresses of a rule that is ours to write are read as they were written.
func FuzzRule(f *testing.F) {
	rule := func(comment, chain string, address []byte) []byte {
		jump := wire.Nest(unix.NFTA_LIST_ELEM, wire.String(unix.NFTA_EXPR_NAME, "immediate"), wire.Nest(unix.NFTA_EXPR_DATA,
			wire.Nest(unix.NFTA_IMMEDIATE_DATA, wire.Nest(unix.NFTA_DATA_VERDICT, wire.U32(unix.NFTA_VERDICT_CODE, 0xfffffffd), wire.String(unix.NFTA_VERDICT_CHAIN, chain)))))
		m := InsertRule(wire.Table{Name: "t"}, "c", 0, 0, comment, wire.Compare(unix.NFT_CMP_EQ, wire.Reg(0), address), jump)
		return slices.Concat(m.Body...)
	}
	f.Add(rule("a comment", "d", []byte{10, 1, 2, 3}), "x", "y", []byte{1})
	f.Add([]byte(wire.Nest(unix.NFTA_RULE_EXPRESSIONS, wire.Nest(unix.NFTA_LIST_ELEM, wire.String(unix.NFTA_EXPR_NAME, "match"),
		wire.Nest(unix.NFTA_EXPR_DATA, wire.String(xtName, "comment"), wire.Bytes(xtInfo, []byte("no end")))))), "", "", []byte{})
	f.Fuzz(func(t *testing.T, answer []byte, comment, chain string, address []byte) {
		decode(answer)
		if len(comment) > 127 || len(chain) > 31 || len(address) > 16 || len(address) == 0 || slices.Contains([]byte(comment+chain), 0) {
			return // no rule has more
		}
		if r := decode(rule(comment, chain, address)); r.Comment != comment || r.Jump != chain || !r.Names(address) {
			t.Errorf("%q %q %v are read as %+v", comment, chain, address, r)
		}
	})
}
