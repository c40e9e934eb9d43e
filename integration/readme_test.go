package integration

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// common are the keys that every configuration may have.
var common = []string{"cniVersion", "cniVersions", "name", "type", "strict", "dns", "ipam", "capabilities", "prevResult", "runtimeConfig", "args",
	"cni.dev/valid-attachments", "cni.dev/attachments", "disableCheck", "disableGC"}

// TestReadmeHasEveryKey holds the README's tables against the plugins' own schemas.
func TestReadmeHasEveryKey(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile(filepath.Join(root, "README.md"))
	must(t, err)
	sections := map[string]string{}
	for _, s := range strings.Split(string(text), "\n### ")[1:] {
		heading, body, _ := strings.Cut(s, "\n")
		for name := range strings.SplitSeq(heading, ", ") {
			sections[name] = body
		}
	}
	entries, err := os.ReadDir(plugins)
	must(t, err)
	n := newNode(t)
	for _, e := range entries {
		section, ok := sections[e.Name()]
		if !ok {
			t.Errorf("the README does not speak of %s", e.Name())
			continue
		}
		out, err := n.Run(filepath.Join(plugins, e.Name()), "schema")
		must(t, err)
		for _, key := range schemaKeys(t, out) {
			if !strings.Contains(section, "`"+key+"`") {
				t.Errorf("the README does not say what %s's key %s does", e.Name(), key)
			}
		}
	}
}

// schemaKeys are a plugin's own keys; an IPAM plugin's are those of ipam.
func schemaKeys(t *testing.T, schema string) (own []string) {
	t.Helper()
	type object struct{ Properties map[string]json.RawMessage }
	var s, ipam object
	must(t, json.Unmarshal([]byte(schema), &s))
	must(t, json.Unmarshal(s.Properties["ipam"], &ipam))
	for _, c := range common {
		delete(s.Properties, c)
	}
	for key := range s.Properties {
		own = append(own, key)
	}
	if len(ipam.Properties) > 1 {
		delete(ipam.Properties, "type")
		for key := range ipam.Properties {
			own = append(own, key)
		}
	}
	return own
}
