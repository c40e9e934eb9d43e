package hostlocal_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/catena-cni/catena/internal/kerneltest"
)

func TestMain(m *testing.M) { kerneltest.Main(m) }

// binary is host-local as it is shipped, once a world is there.
var (
	binary string
	build  sync.Once
)

// world is a folder of leases, and a file that stands for a network namespace:
// what matters to host-local is that the path is there, with one inode.
type world struct {
	dir   string
	netns string
}

func aWorld(t testing.TB) world {
	t.Helper()
	build.Do(func() { binary = filepath.Join(kerneltest.Build(t, "plugins/ipam/host-local"), "host-local") })
	w := world{dir: filepath.Join(t.TempDir(), "data"), netns: filepath.Join(t.TempDir(), "netns")}
	must(t, os.WriteFile(w.netns, nil, 0o600))
	return w
}

// conf is a configuration of network "n" whose ipam has the members given.
func (w world) conf(version, members string) string {
	return fmt.Sprintf(`{"cniVersion":%q,"name":"n","type":"bridge","bridge":"cni0","ipam":{"type":"host-local","dataDir":%q,%s}}`, version, w.dir, members)
}

// with adds members to a configuration.
func with(conf, members string) string { return strings.TrimSuffix(conf, "}") + "," + members + "}" }

// run is one call. Its error is the one that the plugin printed.
func (w world) run(program, verb, id, conf string, env ...string) (stdout, stderr string, err error) {
	cmd := w.command(program, verb, id, conf, env...)
	var out, warnings bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &warnings
	if err = cmd.Run(); err == nil {
		return out.String(), warnings.String(), nil
	}
	var p printed
	if e := json.Unmarshal(out.Bytes(), &p); e != nil || p.Code == 0 || p.Msg == "" || strings.Contains(warnings.String(), "goroutine") {
		return "", warnings.String(), fmt.Errorf("%w; no CNI error was printed: %q %q", err, out.String(), warnings.String())
	}
	return "", warnings.String(), p
}

func (w world) command(program, verb, id, conf string, env ...string) *exec.Cmd {
	cmd := exec.Command(program)
	cmd.Stdin = strings.NewReader(conf)
	cmd.Env = append([]string{"CNI_COMMAND=" + verb, "CNI_CONTAINERID=" + id, "CNI_IFNAME=eth0", "CNI_NETNS=" + w.netns, "CNI_PATH=/nowhere"}, env...)
	return cmd
}

// printed is an error as the specification has it.
type printed struct {
	CNIVersion   string
	Code         int
	Msg, Details string
}

func (p printed) Error() string { return fmt.Sprintf("%d %s (%s)", p.Code, p.Msg, p.Details) }

// wants fails the test unless err has the code, and the words in its text.
func wants(t testing.TB, err error, code int, words ...string) {
	t.Helper()
	p, ok := err.(printed)
	if !ok || p.Code != code {
		t.Errorf("error %v, want code %d", err, code)
		return
	}
	for _, word := range words {
		if !strings.Contains(p.Error(), word) {
			t.Errorf("error %q does not say %q", p, word)
		}
	}
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// add is an ADD that must work. It returns the addresses.
func (w world) add(t testing.TB, id, conf string, env ...string) string {
	t.Helper()
	out, _, err := w.run(binary, "ADD", id, conf, env...)
	must(t, err)
	return addresses(t, out)
}

func (w world) del(t testing.TB, id, conf string, env ...string) {
	t.Helper()
	out, _, err := w.run(binary, "DEL", id, conf, env...)
	must(t, err)
	if out != "" {
		t.Errorf("DEL printed %s", out)
	}
}

// addresses lists those of a result, without their prefix lengths.
func addresses(t testing.TB, result string) string {
	t.Helper()
	var r struct {
		IPs []struct{ Address string }
	}
	must(t, json.Unmarshal([]byte(result), &r))
	var all []string
	for _, ip := range r.IPs {
		addr, _, _ := strings.Cut(ip.Address, "/")
		all = append(all, addr)
	}
	return strings.Join(all, " ")
}

// leases lists the leases of network "n": address=container|interface.
func (w world) leases(t testing.TB) string {
	t.Helper()
	var all []string
	for name, text := range w.files(t) {
		if strings.ContainsAny(name, ".:") && !strings.HasPrefix(name, "last") && !strings.HasPrefix(name, ".") {
			all = append(all, name+"="+strings.ReplaceAll(text, "\r\n", "|"))
		}
	}
	return sorted(all)
}

// files reads the plain files of the network's folder. There may be none.
func (w world) files(t testing.TB) map[string]string {
	t.Helper()
	all := map[string]string{}
	entries, err := os.ReadDir(filepath.Join(w.dir, "n"))
	if err != nil && !os.IsNotExist(err) {
		t.Fatal(err)
	}
	for _, e := range entries {
		if e.Type().IsRegular() {
			text, err := os.ReadFile(filepath.Join(w.dir, "n", e.Name()))
			must(t, err)
			all[e.Name()] = string(text)
		}
	}
	return all
}
