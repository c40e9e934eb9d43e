package house

import (
	"bytes"
	"encoding/json"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/catena-cni/catena/internal/kerneltest"
)

const module = "github.com/catena-cni/catena/"

// rooms orders the rooms of internal/: imports run from a higher number to a
// lower one, or stay inside the room.
var rooms = map[string]int{
	"retry": 1, "state": 2, "kernel": 3, "cni": 4, "fact": 5, "firewall": 6, "upstream": 7, "ipam": 8, "plugin": 9,
	"kerneltest": 20, "plugintest": 21, "house": 22,
}

// room is the one that a package of internal/ is in.
func room(dir string) string {
	inside, _ := strings.CutPrefix(dir, "internal/")
	name, _, _ := strings.Cut(inside, "/")
	return name
}

// only lists who alone may import a third party's package, and why.
var only = []struct {
	pkg    string
	by     []string
	reason string
}{
	{"github.com/containernetworking/cni/libcni", []string{"integration"}, "libcni is the runtime's side of the protocol, and draws OpenTelemetry"},
	{"github.com/containernetworking/cni/pkg/invoke", []string{"integration"}, "invoke draws OpenTelemetry, net/http and crypto/tls: delegation is internal/cni's"},
	{"github.com/containernetworking/cni", []string{"internal/cni", "integration"}, "the protocol has one home, internal/cni"},
	{"github.com/containernetworking/plugins", []string{"integration"}, "upstream is the peer, not a library"},
	{"github.com/vishvananda/netlink", []string{"internal", "integration"}, "plugins are pure: the kernel is reached through facts"},
	{"github.com/vishvananda/netns", []string{"internal/kerneltest", "integration"}, "namespaces are internal/kernel's"},
	{"github.com/insomniacslk/dhcp", []string{"internal/ipam/dhcp/client"}, "the messages of DHCP have one home"},
	{"github.com/godbus/dbus", []string{"internal/firewall/firewalld"}, "firewalld alone is called over D-Bus"},
	{"github.com/coreos/go-iptables", []string{"internal/firewall/iptables"}, "the explicit iptables backend alone runs its programs"},
	{"golang.org/x/sys/unix", []string{"internal", "integration"}, "plugins are pure: the kernel is reached through facts"},
	{"os/exec", []string{"internal/cni", "internal/firewall/iptables", "internal/kerneltest", "internal/house", "integration"}, "no helper program is executed: only delegation, and the explicit iptables backend, is"},
}

type pkg struct {
	dir   string
	files map[string]*ast.File
}

var fset = token.NewFileSet()

// production is every package of the module without its tests.
func production(t *testing.T) []pkg {
	t.Helper()
	out, err := parsed()
	if err != nil {
		t.Fatal(err)
	}
	if len(out) < 15 {
		t.Fatalf("only %d packages found: the walk is broken", len(out))
	}
	return out
}

var parsed = sync.OnceValues(func() ([]pkg, error) {
	top, err := filepath.Abs("../..")
	if err != nil {
		return nil, err
	}
	byDir := map[string]*pkg{}
	err = filepath.WalkDir(top, func(file string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() && (strings.HasPrefix(d.Name(), ".") || d.Name() == "testdata" || d.Name() == "bin") {
			return filepath.SkipDir
		}
		if !strings.HasSuffix(file, ".go") || strings.HasSuffix(file, "_test.go") {
			return nil
		}
		f, err := parser.ParseFile(fset, file, nil, parser.ParseComments)
		if err != nil {
			return err
		}
		dir, _ := filepath.Rel(top, filepath.Dir(file))
		if byDir[dir] == nil {
			byDir[dir] = &pkg{dir: dir, files: map[string]*ast.File{}}
		}
		byDir[dir].files[filepath.Base(file)] = f
		return nil
	})
	var out []pkg
	for _, p := range byDir {
		out = append(out, *p)
	}
	return out, err
})

func imports(p pkg) (out []string) {
	for _, f := range p.files {
		for _, i := range f.Imports {
			name, _ := strconv.Unquote(i.Path.Value)
			out = append(out, name)
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// TestRooms holds every import against the order of the rooms.
func TestRooms(t *testing.T) {
	for _, p := range production(t) {
		if strings.HasPrefix(p.dir, "integration") {
			continue
		}
		from, known := rooms[room(p.dir)]
		if strings.HasPrefix(p.dir, "plugins/") {
			from, known = 19, true
		}
		if !known {
			t.Errorf("%s is in no room: give it a number in this test, below all who import it", p.dir)
		}
		for _, i := range imports(p) {
			to, ours := strings.CutPrefix(i, module+"internal/")
			if ours && room(p.dir) != room("internal/"+to) && rooms[room("internal/"+to)] >= from {
				t.Errorf("%s imports %s: arrows run only downward, so that a reader can stop at any room", p.dir, i)
			}
		}
	}
}

// TestImports holds who may know a third party.
func TestImports(t *testing.T) {
	for _, p := range production(t) {
		for _, i := range imports(p) {
			for _, rule := range only {
				if i != rule.pkg && !strings.HasPrefix(i, rule.pkg+"/") {
					continue
				}
				if !slices.ContainsFunc(rule.by, func(by string) bool { return p.dir == by || strings.HasPrefix(p.dir, by+"/") }) {
					t.Errorf("%s imports %s: %s", p.dir, i, rule.reason)
				}
				break
			}
			if strings.HasPrefix(p.dir, "plugins/") && strings.Contains(strings.Split(i, "/")[0], ".") && !strings.HasPrefix(i, module) {
				t.Errorf("%s imports %s: a plugin is made of facts, third parties are behind them", p.dir, i)
			}
		}
	}
}

// implements are methods that are told of where their interface is: fmt.Stringer,
// error, fact.Fact and what fact.Plan asks of some facts, state.Record.
var implements = []string{"String", "Error", "Unwrap", "Add", "Del", "Check", "Idle", "Made", "Of", "Abandoned"}

// TestDocs wants one package comment for each package, and a comment on every
// exported identifier.
func TestDocs(t *testing.T) {
	for _, p := range production(t) {
		var docs []string
		for name, f := range p.files {
			if f.Doc != nil {
				docs = append(docs, name)
			}
			for _, d := range f.Decls {
				undocumented(t, p.dir, d)
			}
		}
		if len(docs) != 1 {
			t.Errorf("%s has %d package comments (%v): one says what it is for", p.dir, len(docs), docs)
		}
	}
}

func undocumented(t *testing.T, dir string, d ast.Decl) {
	t.Helper()
	switch d := d.(type) {
	case *ast.FuncDecl:
		if d.Name.IsExported() && d.Doc == nil && (d.Recv == nil || exportedReceiver(d) && !slices.Contains(implements, d.Name.Name)) {
			t.Errorf("%s: %s has no comment", dir, d.Name)
		}
	case *ast.GenDecl:
		for _, s := range d.Specs {
			if ts, ok := s.(*ast.TypeSpec); ok && ts.Name.IsExported() && d.Doc == nil && ts.Doc == nil {
				t.Errorf("%s: %s has no comment", dir, ts.Name)
			}
		}
	}
}

func exportedReceiver(d *ast.FuncDecl) bool {
	typ := d.Recv.List[0].Type
	if star, ok := typ.(*ast.StarExpr); ok {
		typ = star.X
	}
	if index, ok := typ.(*ast.IndexExpr); ok {
		typ = index.X
	}
	id, ok := typ.(*ast.Ident)
	return ok && id.IsExported()
}

// TestSpeech looks at how errors speak, and for what a plugin must never do.
func TestSpeech(t *testing.T) {
	for _, p := range production(t) {
		if strings.HasPrefix(p.dir, "integration") {
			continue
		}
		for name, f := range p.files {
			where := path.Join(p.dir, name)
			ast.Inspect(f, func(n ast.Node) bool {
				switch n := n.(type) {
				case *ast.BasicLit:
					if n.Kind == token.STRING && strings.Contains(strings.ToLower(n.Value), "failed to") {
						t.Errorf("%s: %s: an error is the fact and its cause; that it failed goes without saying", where, n.Value)
					}
				case *ast.SelectorExpr:
					if x, ok := n.X.(*ast.Ident); ok && x.Name == "time" && n.Sel.Name == "Sleep" {
						t.Errorf("%s: time.Sleep: wait for the event instead", where)
					}
				case *ast.FuncDecl:
					if n.Name.Name == "init" && n.Recv == nil {
						t.Errorf("%s: func init: a plugin starts for every pod and verb, and pays for it each time", where)
					}
				}
				return true
			})
		}
	}
}

// interruptible are the system calls that a signal can end. Those of
// vishvananda/netlink are not looked at: its sockets do not block.
var interruptible = strings.Fields(`Access Accept Accept4 Connect Flock Fsopen Fsmount FsconfigCreate Fstat Fstatat Fstatfs Ftruncate Getdents
		IoctlSetInt Linkat Mkdir Mkdirat Open Openat Poll Pread Pwrite Read Readlinkat Recvfrom Recvmsg Rename Renameat Sendmsg SendmsgN Sendto
		Stat Statfs Symlinkat Unlinkat Write`)

// TestSignals looks whether each of them is made again.
func TestSignals(t *testing.T) {
	for _, p := range production(t) {
		if strings.HasPrefix(p.dir, "integration") || p.dir == "internal/kerneltest" {
			continue
		}
		for name, f := range p.files {
			where := path.Join(p.dir, name)
			ast.Inspect(f, func(n ast.Node) bool {
				if call, ok := n.(*ast.CallExpr); ok && slices.Contains([]string{"retry.Call", "retry.Do"}, calls(call)) {
					return false
				}
				if x, ok := n.(*ast.SelectorExpr); ok && slices.Contains(interruptible, x.Sel.Name) {
					if of, ok := x.X.(*ast.Ident); ok && of.Name == "unix" {
						t.Errorf("%s: unix.%s: a signal can end it: make it again, by retry.Call or retry.Do", where, x.Sel.Name)
					}
				}
				return true
			})
		}
	}
}

// calls is the name of what is called.
func calls(c *ast.CallExpr) string {
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

// TestDependencies compares the third parties in each binary with a golden
// list, so that a new one is a visible change.
func TestDependencies(t *testing.T) {
	c := exec.Command("go", "list", "-deps", "-json=Dir,Name,ImportPath,Standard,Deps", "./plugins/main/...", "./plugins/ipam/...", "./plugins/meta/...")
	c.Dir, c.Env = "../..", append(os.Environ(), "CGO_ENABLED=0")
	out, err := c.Output()
	if err != nil {
		t.Fatal(err)
	}
	type listed struct {
		Dir, Name, ImportPath string
		Standard              bool
		Deps                  []string
	}
	var programs []listed
	third := map[string]bool{}
	for dec := json.NewDecoder(bytes.NewReader(out)); dec.More(); {
		var p listed
		if err := dec.Decode(&p); err != nil {
			t.Fatal(err)
		}
		third[p.ImportPath] = !p.Standard && !strings.HasPrefix(p.ImportPath, module)
		if p.Name == "main" {
			programs = append(programs, p)
		}
	}
	for _, p := range programs {
		var list strings.Builder
		for _, d := range p.Deps { // go list sorts them
			if third[d] {
				fmt.Fprintln(&list, d)
			}
		}
		kerneltest.Golden(t, "testdata/"+filepath.Base(p.Dir)+".deps", list.String())
	}
	if len(programs) == 0 {
		t.Error("there are no plugins")
	}
}
