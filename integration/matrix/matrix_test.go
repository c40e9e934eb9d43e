// Package matrix has the table of what is tested how.
package matrix

import (
	"encoding/json"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// columns are a plugin's verbs, and what it says to people.
var columns = []string{"ADD", "CHECK", "DEL", "GC", "STATUS", "VERSION", "plan", "result", "schema"}

// helpers are what plugins' own tests stand on, by what a test names of it, with the columns that each tries.
var helpers = map[string]struct {
	way   string
	tries []string
}{
	"kerneltest.Prove":         {"laws", []string{"ADD", "CHECK", "DEL"}},
	"kerneltest.Again":         {"again", []string{"ADD", "CHECK", "DEL"}},
	"kerneltest.Refusals":      {"refused", []string{"ADD"}},
	"kerneltest.Prospects":     {"foretold", []string{"STATUS", "ADD"}},
	"plugintest.Golden":        {"golden", []string{"plan"}},
	"plugintest.Fuzz":          {"fuzzed", []string{"ADD", "CHECK", "DEL", "plan"}},
	"plugintest.FuzzIPAM":      {"fuzzed", []string{"ADD", "result"}},
	"plugintest.FuzzDelegator": {"fuzzed", []string{"ADD", "CHECK", "DEL", "plan"}},
}

// ways are the tests of the folder above that do more than to go through libcni, by what their names begin with.
var ways = map[string]string{
	"TestUpgrade": "upgraded", "TestBackAgain": "upgraded", "TestPodman": "podman", "TestDaemonSet": "containerd",
	"TestKilled": "killed", "TestLostAnswer": "failing", "TestResultNobodyReads": "failing", "TestDamagedRecords": "failing",
	"TestHundredAtOnce": "flooded", "TestPortmapAtOnce": "flooded", "TestEmptyKeyIsAbsent": "said", "TestKeys": "said",
}

// runtimes call what their tests do not name.
var runtimes = map[string][]string{"podman": {"ADD", "DEL"}, "containerd": {"ADD", "DEL"}}

// beside are folders of tests that are about a plugin elsewhere than in its own.
var beside = map[string][]string{
	"host-local": {"internal/ipam/hostlocal", "internal/ipam/lease"}, "static": {"internal/ipam/static"}, "dhcp": {"internal/ipam/dhcp/client", "internal/ipam/dhcp/daemon"},
}

const root = "../.."

const (
	matrixBegin = "<!-- Made of the tests' sources: UPDATE=1 go test ./integration/matrix -->\n"
	matrixEnd   = "<!-- end of the matrix -->\n"
)

// TestMatrix holds the table of integration/README.md against the tests' sources: by what each verb of each plugin is
// tested. A test counts for the plugins and the verbs that it names, or that what it calls in its package names.
func TestMatrix(t *testing.T) {
	t.Parallel()
	m := matrix{}
	folders, err := filepath.Glob(filepath.Join(root, "plugins/[^t]*/*"))
	must(t, err)
	for _, folder := range folders {
		m[filepath.Base(folder)] = map[string][]string{}
	}
	for _, folder := range folders {
		plugin := filepath.Base(folder)
		for _, also := range beside[plugin] {
			m.own(t, plugin, filepath.Join(root, also))
		}
		m.own(t, plugin, folder)
	}
	m.together(t)
	m.parts(t)
	page := filepath.Join(root, "integration/README.md")
	text, err := os.ReadFile(page)
	must(t, err)
	before, rest, begun := strings.Cut(string(text), matrixBegin)
	_, after, ended := strings.Cut(rest, matrixEnd)
	if !begun || !ended {
		t.Fatalf("%s has no place for the matrix", page)
	}
	switch want := before + matrixBegin + m.table(t) + matrixEnd + after; {
	case want == string(text):
	case os.Getenv("UPDATE") != "":
		must(t, os.WriteFile(page, []byte(want), 0o644))
	default:
		t.Errorf("%s does not say how the plugins are tested: UPDATE=1 writes it", page)
	}
}

// matrix has the ways by plugin and column.
type matrix map[string]map[string][]string

func (m matrix) add(plugin, column, way string) {
	if cells, ok := m[plugin]; ok && !slices.Contains(cells[column], way) {
		cells[column] = append(cells[column], way)
	}
}

// own looks at the tests of a folder that are about one plugin.
func (m matrix) own(t *testing.T, plugin, folder string) {
	s := read(t, folder)
	for _, test := range s.tests() {
		saw := s.reach(test)
		for name, h := range helpers {
			if !saw.names[name] {
				continue
			}
			for _, column := range h.tries {
				m.add(plugin, column, h.way)
			}
			if h.way == "refused" { // whose rows may have another verb
				for _, column := range saw.verbs() {
					m.add(plugin, column, h.way)
				}
			}
		}
		for _, column := range saw.verbs() {
			m.add(plugin, column, "alone")
		}
	}
}

// together looks at the tests of this folder.
func (m matrix) together(t *testing.T) {
	s := read(t, filepath.Join(root, "integration"))
	for _, test := range s.tests() {
		way := "libcni"
		for begins, w := range ways {
			if strings.HasPrefix(test, begins) {
				way = w
			}
		}
		m.saw(t, s.reach(test), way)
	}
}

// parts looks at those of the proof.
func (m matrix) parts(t *testing.T) {
	s := read(t, filepath.Join(root, "integration/proof"))
	for _, d := range s.named("parts", "", false) {
		ast.Inspect(d.node, func(n ast.Node) bool {
			part, ok := n.(*ast.CompositeLit)
			if !ok || len(part.Elts) != 3 {
				return true
			}
			name, _ := part.Elts[0].(*ast.BasicLit)
			run, isFunc := part.Elts[2].(*ast.Ident)
			if name != nil && isFunc && name.Value != `"fuzzed"` {
				way, _ := strconv.Unquote(name.Value)
				m.saw(t, s.reach(run.Name), way)
			}
			return false
		})
	}
}

var (
	typed    = regexp.MustCompile(`"type": ?"([a-z-]+)"`)
	exampled = regexp.MustCompile(`[0-9]{2}-[a-z0-9-]+\.conf(list)?`)
)

func (m matrix) saw(t *testing.T, saw seen, way string) {
	verbs, all := saw.verbs(), saw.names["all plugins"]
	if runtimes[way] != nil {
		verbs, all = runtimes[way], false // it installs them all
	}
	var named []string
	for text := range saw.texts {
		if text == "*.conflist" {
			for _, file := range globbed(t) {
				of := pluginsOf(t, file)
				if saw.texts[`"type": "bridge"`] && !slices.Contains(of, "bridge") {
					continue // the test passes over it
				}
				named = append(named, of...)
			}
		}
		for _, file := range exampled.FindAllString(text, -1) {
			named = append(named, pluginsOf(t, file)...)
		}
		for _, match := range typed.FindAllStringSubmatch(text, -1) {
			named = append(named, match[1])
		}
		named = append(named, text) // which adds nothing where it is no plugin
	}
	for plugin := range m {
		for _, column := range verbs {
			if all || slices.Contains(named, plugin) {
				m.add(plugin, column, way)
			}
		}
	}
}

func globbed(t *testing.T) (names []string) {
	files, err := filepath.Glob(filepath.Join(root, "conflist-examples", "*.conflist"))
	must(t, err)
	for _, file := range files {
		names = append(names, filepath.Base(file))
	}
	return names
}

// pluginsOf are those that an example names, IPAM plugins too.
func pluginsOf(t *testing.T, file string) (names []string) {
	text, err := os.ReadFile(filepath.Join(root, "conflist-examples", file))
	if err != nil {
		return nil // another folder's
	}
	for _, match := range typed.FindAllStringSubmatch(string(text), -1) {
		names = append(names, match[1])
	}
	if !json.Valid(text) {
		t.Errorf("%s is no JSON", file)
	}
	return names
}

// source is a declaration of a package: a function, a method, or constants and variables.
type source struct {
	name, file string
	method     bool
	node       ast.Node
}

// sources are those of a package.
type sources []source

func read(t *testing.T, folder string) (s sources) {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(folder, "*.go"))
	must(t, err)
	for _, file := range files {
		if !strings.HasSuffix(file, "_test.go") && !strings.HasSuffix(folder, "integration/proof") {
			continue // what is tested
		}
		f, err := parser.ParseFile(token.NewFileSet(), file, nil, 0)
		must(t, err)
		for _, d := range f.Decls {
			switch d := d.(type) {
			case *ast.FuncDecl:
				s = append(s, source{d.Name.Name, file, d.Recv != nil, d})
			case *ast.GenDecl:
				for _, spec := range d.Specs {
					if v, ok := spec.(*ast.ValueSpec); ok {
						for _, name := range v.Names {
							s = append(s, source{name.Name, file, false, v})
						}
					}
				}
			}
		}
	}
	return s
}

func (s sources) tests() (names []string) {
	for _, d := range s {
		if strings.HasPrefix(d.name, "Test") && d.name != "TestMain" || strings.HasPrefix(d.name, "Fuzz") {
			names = append(names, d.name)
		}
	}
	return names
}

// named are the declarations that a name leads to from a file: of the methods that have it those of the file, where there
// are some, as nothing here knows types.
func (s sources) named(name, file string, method bool) (out []source) {
	for _, d := range s {
		if d.name == name && d.method == method {
			out = append(out, d)
		}
	}
	if near := slices.DeleteFunc(slices.Clone(out), func(d source) bool { return d.file != file }); len(near) > 0 {
		return near
	}
	return out
}

// seen is what a function, and all of the package that it leads to, has: texts, and names of other packages and of methods.
type seen struct{ texts, names map[string]bool }

func (s sources) reach(name string) seen {
	saw, done := seen{map[string]bool{}, map[string]bool{}}, map[ast.Node]bool{}
	for queue := s.named(name, "", false); len(queue) > 0; queue = queue[1:] {
		from := queue[0]
		if done[from.node] {
			continue
		}
		done[from.node] = true
		own := locals(from.node)
		ast.Inspect(from.node, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.Ident:
				if !own[n.Name] {
					queue = append(queue, s.named(n.Name, from.file, false)...)
				}
			case *ast.BasicLit:
				if text, err := strconv.Unquote(n.Value); n.Kind == token.STRING && err == nil {
					saw.texts[text] = true
				}
			case *ast.SelectorExpr:
				queue = append(queue, s.named(n.Sel.Name, from.file, true)...)
				saw.names["."+n.Sel.Name] = true
				if x, ok := n.X.(*ast.Ident); ok {
					saw.names[x.Name+"."+n.Sel.Name] = true
					if !own[x.Name] {
						queue = append(queue, s.named(x.Name, from.file, false)...)
					}
					return false
				}
			case *ast.KeyValueExpr:
				if _, field := n.Key.(*ast.Ident); field {
					n.Key = ast.NewIdent("_")
				}
			case *ast.CallExpr:
				for _, arg := range n.Args {
					if folder, ok := arg.(*ast.Ident); ok && folder.Name == "plugins" && slices.Contains([]string{"names", "os.ReadDir"}, called(n)) {
						saw.names["all plugins"] = true
					}
				}
			}
			return true
		})
	}
	return saw
}

// locals are the names that a function declares within: they lead nowhere.
func locals(function ast.Node) map[string]bool {
	own := map[string]bool{}
	declare := func(names ...ast.Expr) {
		for _, name := range names {
			if id, ok := name.(*ast.Ident); ok {
				own[id.Name] = true
			}
		}
	}
	ast.Inspect(function, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.AssignStmt:
			if n.Tok == token.DEFINE {
				declare(n.Lhs...)
			}
		case *ast.RangeStmt:
			if n.Tok == token.DEFINE {
				declare(n.Key, n.Value)
			}
		case *ast.Field:
			for _, name := range n.Names {
				declare(name)
			}
		}
		return true
	})
	return own
}

// called is the name of what is called.
func called(c *ast.CallExpr) string {
	switch f := c.Fun.(type) {
	case *ast.Ident:
		return f.Name
	case *ast.SelectorExpr:
		if x, ok := f.X.(*ast.Ident); ok {
			return x.Name + "." + f.Sel.Name
		}
	}
	return ""
}

// methods are those of a runtime, and of what gives leases.
var methods = map[string]string{".Add": "ADD", ".Check": "CHECK", ".Del": "DEL", ".GC": "GC", ".Status": "STATUS"}

// verbs are the columns that are named.
func (s seen) verbs() (out []string) {
	for _, column := range columns {
		if s.texts[column] || s.texts["CNI_COMMAND="+column] {
			out = append(out, column)
		}
	}
	for method, verb := range methods {
		if s.names[method] && !slices.Contains(out, verb) {
			out = append(out, verb)
		}
	}
	return out
}

// order is that of the ways in a cell.
var order = []string{"laws", "again", "refused", "foretold", "golden", "alone", "libcni", "upgraded", "killed", "failing", "flooded", "fought", "wire", "fuzzed", "podman", "containerd", "said"}

func (m matrix) table(t *testing.T) string {
	var out strings.Builder
	fmt.Fprintf(&out, "| plugin | %s |\n|%s\n", strings.Join(columns, " | "), strings.Repeat("---|", len(columns)+1))
	for _, plugin := range slices.Sorted(maps.Keys(m)) {
		fmt.Fprintf(&out, "| %s |", plugin)
		for _, column := range columns {
			cell := m[plugin][column]
			if len(cell) == 0 {
				t.Errorf("no test has the %s of %s", column, plugin)
			}
			slices.SortFunc(cell, func(a, b string) int { return slices.Index(order, a) - slices.Index(order, b) })
			fmt.Fprintf(&out, " %s |", strings.Join(cell, ", "))
		}
		fmt.Fprintln(&out)
	}
	return out.String()
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
