package fact_test

import (
	"errors"
	"io/fs"
	"strings"
	"testing"

	"github.com/catena-cni/catena/internal/cni"
	"github.com/catena-cni/catena/internal/fact"
	"github.com/catena-cni/catena/internal/kernel"
)

// failing is a fact with a text that cannot come true.
type failing struct {
	text string
	err  error
}

func (f failing) String() string           { return f.text }
func (f failing) Add(*kernel.Kernel) error { return f.err }
func (failing) Del(*kernel.Kernel) error   { return nil }
func (f failing) Check(*kernel.Kernel) error {
	return f.err
}

// TestErrors: what the reader needs comes first, and a fact's long text last.
func TestErrors(t *testing.T) {
	long := "nft  ports" + strings.Repeat(" port4 { 8080 . tcp : 10.1.2.3 . 80 }", 20)
	busy := cni.Hint(cni.Taken("host port 8080/tcp is held by n/c1/eth0"), "detach (DEL) n/c1/eth0 first")
	for _, c := range []struct {
		fact         failing
		msg, details string
		code         uint
	}{
		{failing{"addr pod eth0 10.1.2.3/24", fs.ErrNotExist}, "addr pod eth0 10.1.2.3/24: file does not exist", "", cni.CodeMissing},
		{failing{long, busy}, "host port 8080/tcp is held by n/c1/eth0", "detach (DEL) n/c1/eth0 first; it is about: " + long, cni.CodeExists},
		{failing{"tbf host0", busy}, "host port 8080/tcp is held by n/c1/eth0", "detach (DEL) n/c1/eth0 first; it is about: tbf host0", cni.CodeExists},
		{failing{long, errors.New("no")}, "nft  ports port4 { 8080 . tcp : 10.1.2.3 . 80 } port4 { 8080 . tcp : 10.1.2.3 . ...: no", "it is about: " + long, cni.CodeFailed},
	} {
		p := fact.Plan{c.fact}
		for _, err := range []error{p.Add(kernel.OpenHost("")), p.Check(nil)} {
			if e := cni.AsError(err); e.Msg != c.msg || e.Details != c.details || e.Code != c.code {
				t.Errorf("%d %s (%s)\nand wanted is\n%d %s (%s)", e.Code, e.Msg, e.Details, c.code, c.msg, c.details)
			}
		}
	}
}
