package main

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

var program string

func TestMain(m *testing.M) {
	os.Exit(func() int {
		dir, err := os.MkdirTemp("", "install")
		if err != nil {
			panic(err)
		}
		defer os.RemoveAll(dir)
		program = filepath.Join(dir, "install")
		if out, err := exec.Command("go", "build", "-buildvcs=false", "-o", program, ".").CombinedOutput(); err != nil {
			panic(fmt.Sprintf("%v: %s", err, out))
		}
		return m.Run()
	}())
}

func sum(text string) string {
	s, _ := digest(strings.NewReader(text))
	return s
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// host is a node's folders, and what is to be put there.
type host struct {
	*testing.T
	dir string
}

const listed = `{"cniVersion":"1.0.0","name":"net","plugins":[{"type":"bridge","ipam":{"type":"host-local"}},{"type":"mine"}]}`

// newHost has a plugin of somebody else's, and of one of ours an old one.
func newHost(t *testing.T) host {
	h := host{t, t.TempDir()}
	for _, dir := range []string{"from", "bin", "conf", "config/..data"} {
		must(t, os.MkdirAll(filepath.Join(h.dir, dir), 0o755))
	}
	h.write("bin/mine", "mine", 0o700)
	h.write("bin/bridge", "older bridge", 0o755)
	h.write("conf/99-loopback.conf", "{}", 0o644)
	h.write("from/README.md", "for people", 0o644)
	h.write("config/..data/10-net.conflist", listed, 0o644)
	must(t, os.Symlink("..data/10-net.conflist", filepath.Join(h.dir, "config/10-net.conflist")))
	h.version("1", "bridge", "host-local", "dropped")
	return h
}

func (h host) write(name, text string, mode os.FileMode) {
	h.Helper()
	path := filepath.Join(h.dir, name)
	must(h.T, os.WriteFile(path+".new", []byte(text), mode))
	must(h.T, os.Rename(path+".new", path))
}

// version makes the programs of one.
func (h host) version(version string, names ...string) {
	h.Helper()
	for _, name := range names {
		h.write("from/"+name, strings.Repeat(name+version, 10_000), 0o755)
	}
}

func (h host) args(more ...string) []string {
	return append([]string{"-from", h.dir + "/from", "-bin", h.dir + "/bin", "-conflist", h.dir + "/config/10-net.conflist", "-conf", h.dir + "/conf"}, more...)
}

func (h host) run(args ...string) (string, error) {
	out, err := exec.Command(program, h.args(args...)...).CombinedOutput()
	return string(out), err
}

func (h host) must(args ...string) {
	h.Helper()
	if out, err := h.run(args...); err != nil {
		h.Fatalf("install %q: %v: %s", args, err, out)
	}
}

// text says what is in the node's folders.
func (h host) text() string {
	h.Helper()
	var b strings.Builder
	for _, dir := range []string{"bin", "conf"} {
		entries, _ := os.ReadDir(filepath.Join(h.dir, dir))
		for _, entry := range entries {
			info, err := entry.Info()
			if err != nil {
				continue // it goes meanwhile
			}
			content := ""
			if info.Mode().IsRegular() {
				all, _ := os.ReadFile(filepath.Join(h.dir, dir, entry.Name()))
				content = string(all[:min(12, len(all))]) + fmt.Sprint(" ", len(all))
			}
			if int(info.Sys().(*syscall.Stat_t).Uid) != os.Geteuid() {
				content += " of another user"
			}
			fmt.Fprintln(&b, dir, entry.Name(), info.Mode(), content)
		}
	}
	return b.String()
}

const (
	before = `bin bridge -rwxr-xr-x older bridge 12
bin mine -rwx------ mine 4
conf 99-loopback.conf -rw-r--r-- {} 2
`
	second = `bin .catena-installed -rw-r--r-- %s
bin bridge -rwxr-xr-x bridge2bridg 70000
bin host-local -rwxr-xr-x host-local2h 110000
bin mine -rwx------ mine 4
conf .catena-installed -rw-r--r-- %s
conf 10-net.conflist -rw------- {"cniVersion 110
conf 99-loopback.conf -rw-r--r-- {} 2
`
)

func (h host) isSecond() {
	h.Helper()
	want := second
	for _, dir := range []string{"bin", "conf"} {
		b, err := os.ReadFile(filepath.Join(h.dir, dir, record))
		must(h.T, err)
		want = strings.Replace(want, "%s", fmt.Sprint(string(b[:12]), " ", len(b)), 1)
		check := exec.Command("sha256sum", "--check", "--strict", record)
		check.Dir = filepath.Join(h.dir, dir)
		if out, err := check.CombinedOutput(); err != nil {
			h.Errorf("the record of %s: %v: %s", dir, err, out)
		}
	}
	if got := h.text(); got != want {
		h.Errorf("the node has\n%swant\n%s", got, want)
	}
}

// TestInstall puts a version there, then another that has one plugin less, and takes it away.
func TestInstall(t *testing.T) {
	t.Parallel()
	h := newHost(t)
	h.must("-once")
	h.version("2", "bridge", "host-local")
	must(t, os.Remove(h.dir+"/from/dropped"))
	h.must("-once")
	h.isSecond()
	was := h.text()
	if out, err := h.run("-once"); err != nil || out != "" || h.text() != was {
		t.Errorf("once more: %v: %s", err, out)
	}
	h.write("bin/host-local", "somebody's", 0o755)
	if out, err := h.run("-uninstall"); err != nil || !strings.Contains(out, "leave host-local in") {
		t.Errorf("with a changed plugin: %v: %s", err, out)
	}
	want := strings.Replace(before, "bin bridge -rwxr-xr-x older bridge 12", "bin host-local -rwxr-xr-x somebody's 10", 1)
	if got := h.text(); got != want {
		t.Errorf("the node has\n%swant\n%s", got, want)
	}
	h.must("-uninstall")
}

// killed ends a run at the nth of a thread's calls of a kind, and says whether it came to that.
func (h host) killed(call string, n int, args ...string) bool {
	h.Helper()
	strace := exec.Command("strace", append([]string{"-f", "-qq", "-o", "/dev/null", "-e", "trace=" + call,
		"-e", fmt.Sprintf("inject=%s:signal=KILL:when=%d", call, n), program}, h.args(args...)...)...)
	out, err := strace.CombinedOutput()
	var exit *exec.ExitError
	if errors.As(err, &exit) && exit.Sys().(syscall.WaitStatus).Signal() == syscall.SIGKILL {
		return true
	} else if err != nil {
		h.Fatalf("strace: %v: %s", err, out)
	}
	return false
}

// TestKilled kills upgrades and removals at their calls that have to do with files: at any moment each file is an old or a
// new one, the new configuration has all of its plugins, and who comes next completes it.
func TestKilled(t *testing.T) {
	if testing.Short() {
		t.Skip("needs time; sudo ./integration/test.sh runs it")
	}
	t.Parallel()
	h := newHost(t)
	h.must("-once")
	first, kills := h.text(), 0
	upgrade := func(call string, n int) bool {
		h.write("config/..data/10-net.conflist", listed, 0o644)
		h.version("1", "bridge", "host-local", "dropped")
		h.must("-once")
		if got := h.text(); got != first {
			t.Fatalf("after a kill and a complete run the node has\n%swant\n%s", got, first)
		}
		h.version("2", "bridge", "host-local")
		must(t, os.Remove(h.dir+"/from/dropped"))
		h.write("config/..data/10-net.conflist", listed+" ", 0o644)
		killed := h.killed(call, n, "-once")
		got := h.text()
		has := func(lines ...string) (n int) {
			for _, line := range lines {
				n += strings.Count(got, line+"\n")
			}
			return n
		}
		news := has("bin bridge -rwxr-xr-x bridge2bridg 70000", "bin host-local -rwxr-xr-x host-local2h 110000")
		olds := has("bin bridge -rwxr-xr-x bridge1bridg 70000", "bin host-local -rwxr-xr-x host-local1h 110000")
		list, older := has(`conf 10-net.conflist -rw------- {"cniVersion 111`), has(`conf 10-net.conflist -rw------- {"cniVersion 110`)
		if news+olds != 2 || list+older != 1 || list == 1 && news != 2 {
			t.Errorf("killed at %s %d, the node has\n%s", call, n, got)
		}
		return killed
	}
	removal := func(call string, n int) bool {
		h.must("-once")
		killed := h.killed(call, n, "-uninstall")
		if got := h.text(); strings.Contains(got, ".conflist") && (!strings.Contains(got, "bin bridge") || !strings.Contains(got, "bin host-local")) {
			t.Errorf("killed at %s %d, the configuration lacks its plugins:\n%s", call, n, got)
		}
		h.must("-uninstall")
		if got, want := h.text(), strings.Replace(before, "bin bridge -rwxr-xr-x older bridge 12\n", "", 1); got != want {
			t.Errorf("the node has\n%swant\n%s", got, want)
		}
		return killed
	}
	for _, do := range []func(string, int) bool{upgrade, removal} {
		for _, call := range []string{"openat", "write", "fchmod", "fsync", "renameat", "unlinkat"} {
			for n := 1; do(call, n) || do(call, n+1); n++ {
				kills++
			}
		}
	}
	if kills < 30 {
		t.Errorf("it was killed at %d calls only", kills)
	}
	t.Logf("killed %d times", kills)
}

// until waits for what is to become true.
func (h host) until(what string, is func() bool) {
	h.Helper()
	for end := time.Now().Add(time.Minute); !is(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			h.Fatalf("not within a minute: %s\n%s", what, h.text())
		}
	}
}

// TestRepair lets it run while others remove and change what it put there, a ConfigMap among them.
func TestRepair(t *testing.T) {
	t.Parallel()
	h := newHost(t)
	h.version("2", "bridge", "host-local")
	must(t, os.Remove(h.dir+"/from/dropped"))
	ready := h.dir + "/ready"
	isReady := func() bool { return exec.Command(program, "-check", "-ready", ready).Run() == nil }
	if isReady() {
		t.Error("ready before the beginning")
	}
	var said bytes.Buffer
	watching := exec.Command(program, h.args("-ready", ready)...)
	watching.Stdout, watching.Stderr = &said, &said
	must(t, watching.Start())
	defer watching.Process.Kill()
	h.until("ready", isReady)
	h.isSecond()
	well := h.text()
	bridge := h.dir + "/bin/bridge"
	for _, c := range []struct {
		what string
		do   func() error
	}{
		{"removed", func() error { return os.Remove(bridge) }},
		{"overwritten", func() error { h.write("bin/bridge", "another", 0o755); return nil }},
		{"written into", func() error { return os.WriteFile(bridge, []byte("shorter"), 0o755) }},
		{"not to be executed", func() error { return os.Chmod(bridge, 0o644) }},
		{"set to its owner's", func() error { return os.Chmod(bridge, 0o755|os.ModeSetuid) }},
		{"another user's, where that can be", func() error {
			if err := os.Chown(bridge, 65534, -1); os.Geteuid() == 0 {
				return err
			}
			return nil
		}},
		{"a link", func() error { must(t, os.Remove(bridge)); return os.Symlink("mine", bridge) }},
		{"a configuration removed", func() error { return os.Remove(h.dir + "/conf/10-net.conflist") }},
		{"a folder moved away", func() error { return os.Rename(h.dir+"/conf", h.dir+"/away") }},
		{"a configuration removed from the new one", func() error { return os.Remove(h.dir + "/conf/10-net.conflist") }},
	} {
		must(t, c.do())
		h.until(c.what, func() bool {
			_, err := os.Stat(h.dir + "/conf/10-net.conflist")
			return err == nil && strings.HasPrefix(well, h.text()) // without 99-loopback.conf in the end
		})
	}
	h.write("config/..data/10-net.conflist", listed+"\n", 0o644)
	must(t, os.Symlink("..data/10-net.conflist", h.dir+"/config/..tmp"))
	must(t, os.Rename(h.dir+"/config/..tmp", h.dir+"/config/10-net.conflist"))
	h.until("the new configuration, and no other in the record", func() bool {
		return strings.Contains(h.text(), `{"cniVersion 111`) && strings.Contains(h.text(), "conf .catena-installed -rw-r--r-- "+sum(listed + "\n")[:12]+" 82\n")
	})
	// It ends, and everything stays.
	well = h.text()
	must(t, watching.Process.Signal(syscall.SIGTERM))
	if err := watching.Wait(); err != nil || h.text() != well || isReady() {
		t.Errorf("it ended with %v, ready %v: %s", err, isReady(), said.String())
	}
}

// TestHostile: no link is followed and nothing but regular files opened, whatever is in the folders; a configuration that
// cannot be used is none.
func TestHostile(t *testing.T) {
	t.Parallel()
	h := newHost(t)
	secret := h.dir + "/secret"
	h.write("secret", "secret", 0o600)
	for _, name := range []string{"bin/bridge", "bin/" + record, "conf/10-net.conflist"} {
		_ = os.Remove(filepath.Join(h.dir, name))
		must(t, os.Symlink(secret, filepath.Join(h.dir, name)))
	}
	must(t, syscall.Mkfifo(h.dir+"/bin/host-local", 0o600))
	h.write("conf/"+record, sum("secret")+"  ../secret\n"+sum("{}")+"  99-loopback.conf\nnothing\n", 0o644)
	h.must("-once")
	for _, want := range []string{"bridge1bridg 70000", "host-local1h 110000", `{"cniVersion 110`} {
		if got := h.text(); !strings.Contains(got, want) {
			t.Errorf("no %s in\n%s", want, got)
		}
	}
	if b, err := os.ReadFile(secret); string(b) != "secret" {
		t.Errorf("behind the link is %q, %v", b, err)
	}
	h.version("2", "bridge")
	for text, want := range map[string]string{
		"{": "unexpected end", `{"name":"n"}`: "no list of plugins", strings.Replace(listed, "mine", "absent", 1): `"absent", which is neither`, strings.Replace(listed, "host-local", "../mine", 1): `"../mine", which is neither`,
	} {
		h.write("config/..data/10-net.conflist", text, 0o644)
		if out, err := h.run("-once"); err == nil || !strings.Contains(out, want) || !strings.Contains(h.text(), "bridge2bridg 70000") || !strings.Contains(h.text(), `{"cniVersion 110`) {
			t.Errorf("with %s: %v: %s%s", text, err, out, h.text())
		}
	}
	// Nothing to put is a mistake, and takes nothing away.
	was := h.text()
	for _, from := range []string{"/conf", "/nowhere"} {
		if out, err := h.run("-once", "-from", h.dir+from); err == nil || h.text() != was {
			t.Errorf("from %s: %v: %s%s", from, err, out, h.text())
		}
	}
	must(t, os.Remove(h.dir+"/bin/bridge"))
	must(t, os.MkdirAll(h.dir+"/bin/bridge/full", 0o755))
	if out, err := h.run("-once"); err == nil || !strings.Contains(out, "bridge") || strings.Contains(h.text(), temporary) {
		t.Errorf("with a folder in the way: %v: %s%s", err, out, h.text())
	}
}

// TestReadme: the page has each flag, and each flag's words.
func TestReadme(t *testing.T) {
	t.Parallel()
	page, err := os.ReadFile("README.md")
	must(t, err)
	out, err := exec.Command(program, "-help").CombinedOutput()
	must(t, err)
	for _, one := range strings.Split(string(out), "\n  -")[1:] {
		name, words, _ := strings.Cut(one, "\n")
		name, _, _ = strings.Cut(name, " ")
		words, preset, _ := strings.Cut(strings.TrimSpace(words), ` (default "`)
		preset = strings.TrimSuffix(preset, `")`)
		if preset != "" {
			preset = "`" + preset + "`"
		}
		if line := fmt.Sprintf("| `-%s` | %s | %s |\n", name, preset, words); !strings.Contains(string(page), line) {
			t.Errorf("README.md has no line %s", line)
		}
	}
}
