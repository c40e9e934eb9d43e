package othertables

import (
	"bytes"
	"testing"

	"github.com/catena-cni/catena/internal/kerneltest"
)

func TestMain(m *testing.M) { kerneltest.Main(m) }

// TestLegacy: a table is there once it was used, and reading brings none into
// being.
func TestLegacy(t *testing.T) {
	t.Parallel()
	kerneltest.Needs(t, "older iptables")
	s := kerneltest.New(t)
	for six, program := range map[bool]string{false: "iptables-legacy", true: "ip6tables-legacy"} {
		if image, err := ReadLegacy(six, "nat"); err != nil || image.Entries != nil {
			t.Errorf("%s has a table before it was used: %v", program, err)
		}
		s.Run(program + ` -t nat -N CNI-SOMETHING; ` + program + ` -t nat -A CNI-SOMETHING -m comment --comment 'a comment' -j RETURN`)
		if image, err := ReadLegacy(six, "raw"); err != nil || image.Entries != nil {
			t.Errorf("%s has a table that nobody has used: %v", program, err)
		}
		image, err := ReadLegacy(six, "nat")
		if err != nil {
			t.Fatal(err)
		}
		for _, text := range []string{"CNI-SOMETHING\x00", "a comment\x00"} {
			if !bytes.Contains(image.Entries, []byte(text)) {
				t.Errorf("%s: there is no %q", program, text)
			}
		}
	}
}
