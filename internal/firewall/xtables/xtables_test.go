package xtables

import (
	"bytes"
	"testing"

	"github.com/catena-cni/catena/internal/kerneltest"
)

// TestRead: a table is there once it was used, and reading brings none into
// being.
func TestRead(t *testing.T) {
	t.Parallel()
	kerneltest.Needs(t, "older iptables")
	s := kerneltest.New(t)
	for six, program := range map[bool]string{false: "iptables-legacy", true: "ip6tables-legacy"} {
		if Present(six, "nat") {
			t.Errorf("%s has a table before it was used", program)
		}
		s.Run(program + ` -t nat -N CNI-SOMETHING; ` + program + ` -t nat -A CNI-SOMETHING -m comment --comment 'a comment' -j RETURN`)
		if !Present(six, "nat") || Present(six, "raw") {
			t.Errorf("%s: nat is there: %t, raw is there: %t", program, Present(six, "nat"), Present(six, "raw"))
		}
		image, err := Read(six, "nat")
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
