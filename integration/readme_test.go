package integration

import (
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// common are the keys that every configuration may have: the README speaks of them.
var common = []string{"cniVersion", "cniVersions", "name", "type", "strict", "dns", "ipam", "capabilities", "prevResult",
	"cni.dev/valid-attachments", "cni.dev/attachments", "disableCheck", "disableGC"}

const tableBegin, tableEnd = "<!-- Made of the doc: tags: UPDATE=1 go test ./integration -run TestKeys -->\n", "<!-- end -->\n"

// TestKeys holds the table of keys in each plugin's page against the plugin's own schema, which is made of the same words.
// UPDATE=1 writes the tables.
func TestKeys(t *testing.T) {
	t.Parallel()
	pages, err := filepath.Glob(filepath.Join(root, "plugins/[^t]*/*/README.md"))
	must(t, err)
	programs, err := filepath.Glob(filepath.Join(root, "plugins/[^t]*/*/main.go"))
	must(t, err)
	if len(pages) != len(programs) || len(pages) == 0 {
		t.Fatalf("%d plugins have %d pages", len(programs), len(pages))
	}
	n := newNode(t)
	for _, page := range pages {
		out, err := n.Run(filepath.Join(plugins, filepath.Base(filepath.Dir(page))), "schema")
		must(t, err)
		var s schema
		must(t, json.Unmarshal([]byte(out), &s))
		b, err := os.ReadFile(page)
		must(t, err)
		text := string(b)
		before, rest, begun := strings.Cut(text, tableBegin)
		_, after, ended := strings.Cut(rest, tableEnd)
		if !begun || !ended {
			t.Errorf("%s has no place for the table of keys", page)
			continue
		}
		want := before + tableBegin + s.table() + tableEnd + after
		switch {
		case want == text:
		case os.Getenv("UPDATE") != "":
			must(t, os.WriteFile(page, []byte(want), 0o644))
		default:
			t.Errorf("%s does not say of the keys what the plugin says: UPDATE=1 writes it", page)
		}
	}
}

// schema is as much of a JSON Schema as the plugins' own have.
type schema struct {
	Properties  map[string]schema
	Description string
	Default     any
	Enum        []any
}

func (s schema) table() string {
	rows := s.rows("", common)
	if ipam := s.Properties["ipam"]; len(ipam.Properties) > 1 { // of an IPAM plugin
		rows = append(rows, ipam.rows("ipam.", []string{"type"})...)
	}
	if len(rows) == 0 {
		return "It has no keys of its own.\n"
	}
	return "| key | default | what it does |\n|---|---|---|\n" + strings.Join(rows, "")
}

func (s schema) rows(prefix string, not []string) (out []string) {
	for _, key := range slices.Sorted(maps.Keys(s.Properties)) {
		p := s.Properties[key]
		switch {
		case slices.Contains(not, key):
		case prefix == "" && key == "args":
			out = append(out, p.Properties["cni"].rows("args.cni.", nil)...)
		case prefix == "" && key == "runtimeConfig":
			out = append(out, p.rows("runtimeConfig.", nil)...)
		default:
			out = append(out, fmt.Sprintf("| `%s%s` | %s | %s |\n", prefix, key, p.preset(), p.words()))
		}
	}
	return out
}

func (s schema) preset() string {
	if s.Default == nil {
		return ""
	}
	return fmt.Sprintf("`%v`", s.Default)
}

// words is what the key does, with the values that the words do not name.
func (s schema) words() string {
	text := s.Description
	var values []string
	for _, v := range s.Enum {
		if name := fmt.Sprint(v); !strings.Contains(text, name) {
			values = append(values, "`"+name+"`")
		}
	}
	if len(values) > 0 {
		text += " (" + strings.Join(values, ", ") + ")"
	}
	return strings.ReplaceAll(text, "|", "\\|")
}
