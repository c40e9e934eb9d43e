package integration

import (
	"fmt"
	"strings"
	"testing"
)

// TestLongNames: names that are together as long as an alias can be (IFALIASZ less its final zero byte), one byte shorter,
// and as long as each of them may be, come and go in every plugin. What is longer is refused.
func TestLongNames(t *testing.T) {
	for name, chain := range unread {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			n, p := unreadNode(t)
			before := text(t, n)
			for _, size := range []struct{ network, container int }{{100, 254 - 106}, {100, 255 - 106}, {1, 200}, {200, 1}} {
				network, container := strings.Repeat("n", size.network), strings.Repeat("c", size.container)
				results := []string{}
				call := func(verb string, i int, prev string) string {
					kind := strings.Split(chain[i], `"`)[3]
					out, err := byHand(n, verb, kind, container, p.Path, ifnameOf(kind), fmt.Sprintf(`{"cniVersion":"1.0.0","name":%q,%s%s}`, network, chain[i], prev))
					if err != nil {
						t.Fatalf("%s of %d and %d bytes: %v", verb, size.network, size.container, err)
					}
					return out
				}
				prev := ""
				for i := range chain {
					prev = `,"prevResult":` + call("ADD", i, prev)
					results = append(results, prev)
				}
				for i := range chain {
					call("CHECK", i, results[len(results)-1])
				}
				for i := len(chain) - 1; i >= 0; i-- {
					call("DEL", i, results[len(results)-1])
				}
				noneLeft(t, n, before, "unread0")
			}
			kind := strings.Split(chain[0], `"`)[3]
			together := 254 - len(ifnameOf(kind)) // one more than fits
			for _, long := range []struct {
				network, container int
				says               string
			}{
				{201, 1, "has 201 characters, and can have 200"}, {1, 201, "has 201 characters, and can have 200"},
				{200, together - 200, "have 254 characters together, and can have 253"},
			} {
				out, err := byHand(n, "ADD", kind, strings.Repeat("c", long.container), p.Path, ifnameOf(kind),
					fmt.Sprintf(`{"cniVersion":"1.0.0","name":%q,%s}`, strings.Repeat("n", long.network), chain[0]))
				if err == nil || !strings.Contains(out, long.says) {
					t.Errorf("a name that is too long: %v", out)
				}
				noneLeft(t, n, before, "unread0")
			}
		})
	}
}
