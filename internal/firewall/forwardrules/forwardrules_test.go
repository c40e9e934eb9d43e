package forwardrules

import (
	"errors"
	"strings"
	"testing"

	"github.com/catena-cni/catena/internal/firewall/nft/wire"
	"github.com/catena-cni/catena/internal/kerneltest"
)

func TestMain(m *testing.M) { kerneltest.Main(m) }

var both = Families{V4: true, V6: true}

// TestPlace: our rule comes right before what drops, wherever that is, and is
// made once.
func TestPlace(t *testing.T) {
	t.Parallel()
	const accept = "mark accept"
	for name, c := range map[string]struct{ chains, forward string }{
		"policy":                       {"chain forward { type filter hook forward priority 0; policy drop; iif lo accept; }", `iif "lo" accept, ` + accept},
		"last rule":                    {"chain forward { type filter hook forward priority 0; iif lo accept; drop; }", `iif "lo" accept, ` + accept + ", drop"},
		"last rule leaves to policy":   {"chain forward { type filter hook forward priority 0; policy drop; iif lo accept; return; }", `iif "lo" accept, ` + accept + ", return"},
		"inner chain":                  {"chain in { iif lo accept; reject; }; chain forward { type filter hook forward priority 0; jump in; accept; }", accept + ", jump in, accept"},
		"inner chain leaves to policy": {"chain in { iif lo accept; }; chain forward { type filter hook forward priority 0; policy drop; goto in; }", accept + ", goto in"},
		"inner chain comes back":       {"chain in { iif lo accept; return; drop; }; chain forward { type filter hook forward priority 0; jump in; }", "jump in"},
		"accepted":                     {"chain forward { type filter hook forward priority 0; policy drop; accept; drop; }", "accept, drop"},
		"another hook":                 {"chain forward { type filter hook input priority 0; policy drop; }", ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := kerneltest.New(t)
			conn, err := wire.Dial()
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			s.Run("nft 'table inet fw { " + strings.ReplaceAll(c.chains, "}", "};") + " }'")
			same := func(when string) {
				t.Helper()
				if err := errors.Join(Missing(conn, both), Ready(conn, both)); err != nil {
					t.Errorf("%s: %v", when, err)
				}
				if have := listed(s); have != c.forward {
					t.Errorf("%s the chain has %q, not %q", when, have, c.forward)
				}
			}
			lacks := strings.Contains(c.forward, accept)
			if err := Missing(conn, both); (err != nil) != lacks {
				t.Errorf("before: %v", err)
			}
			for _, when := range []string{"once", "twice"} {
				if err := Ensure(conn, both, "CNI-ADMIN"); err != nil {
					t.Fatal(err)
				}
				same(when)
			}
			if !lacks {
				return
			}
			s.Run("nft delete rule inet fw forward handle $(nft -a list chain inet fw forward | sed -n 's/.*catena.*handle //p')")
			if err := Restore(conn, false); err != nil {
				t.Error(err)
			}
			same("restored")
			s.Run("nft 'insert rule inet fw forward drop'") // before ours
			if err := Restore(conn, false); err != nil || Missing(conn, both) == nil {
				t.Errorf("no rule is lost, and one is behind a drop: %v", err)
			}
			if err := Restore(conn, true); err != nil {
				t.Error(err)
			}
			if have := listed(s); !strings.HasPrefix(have, accept+", drop") || strings.Count(have, accept) != 1 {
				t.Errorf("behind a drop: %q", have)
			}
		})
	}
}

// listed are the rules of the chain, with ours in short.
func listed(s *kerneltest.Sandbox) string {
	var rules []string
	for _, line := range strings.Split(s.Run("nft list chain inet fw forward"), "\n") {
		switch line = strings.TrimSpace(line); {
		case strings.Contains(line, acceptComment):
			line = "mark accept"
		case line == "" || strings.HasSuffix(line, "{") || line == "}" || strings.HasPrefix(line, "type "):
			continue
		}
		rules = append(rules, line)
	}
	return strings.Join(rules, ", ")
}

// FuzzLegacyVerdict: no entry, however torn, is read beyond its end.
func FuzzLegacyVerdict(f *testing.F) {
	entry := make([]byte, 160)
	entry[88], entry[112+32] = 112, 0xff
	f.Add(entry, uint32(0), uint8(88))
	f.Add(entry, uint32(160), uint8(140))
	f.Add(entry[:90], uint32(0xffffffff), uint8(88))
	f.Fuzz(func(t *testing.T, entries []byte, policy uint32, offset uint8) {
		if v := legacyVerdict(entries, int(policy), int(offset)); v != 0 && len(entries) < 38 {
			t.Errorf("%d of %d bytes", v, len(entries))
		}
	})
}
