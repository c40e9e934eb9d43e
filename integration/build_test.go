package integration

import (
	"debug/elf"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// scratchSuite makes a small suite with build_linux.sh at its top, of which git says version v1.2.3.
func scratchSuite(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	script, err := os.ReadFile(filepath.Join(root, "build_linux.sh"))
	must(t, err)
	const program = `package main

import "example.org/suite/internal/plugin"

var extra = "nothing"

func main() { println(plugin.Version, extra); select {} }
`
	for name, text := range map[string]string{
		"build_linux.sh":                string(script),
		".gitignore":                    "/bin/\n",
		"go.mod":                        "module example.org/suite\n\ngo 1.21\n",
		"internal/plugin/plugin.go":     "package plugin\n\nvar Version = \"unset\"\n",
		"plugins/main/alpha/alpha.go":   strings.Replace(program, "select {}", "", 1),
		"plugins/ipam/beta/beta.go":     program,
		"plugins/ipam/beta/sub/main.go": "package main\n\nfunc main() {}\n",
		"plugins/meta/library/lib.go":   "package library\n",
		"plugins/tool/install/main.go":  program, // no plugin
	} {
		path := filepath.Join(dir, name)
		must(t, os.MkdirAll(filepath.Dir(path), 0o755))
		must(t, os.WriteFile(path, []byte(text), 0o755))
	}
	run(t, dir, "sh", "-c", "export GIT_AUTHOR_DATE=@1700000000+0000 GIT_COMMITTER_DATE=@1700000000+0000; git init -q && git add -A && git -c user.name=t -c user.email=t@example.org commit -qm x && git tag v1.2.3")
	return dir
}

func run(t *testing.T, dir, name string, args ...string) string {
	t.Helper()
	cmd := exec.Command(name, args...)
	cmd.Dir = dir
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%s %q: %v\n%s", name, args, err, out)
	}
	return string(out)
}

func names(t *testing.T, dir string) string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	must(t, err)
	var names []string
	for _, entry := range entries {
		names = append(names, entry.Name())
	}
	return strings.Join(names, " ")
}

func TestBuild(t *testing.T) {
	t.Parallel()
	suite := scratchSuite(t)
	out := run(t, suite, "./build_linux.sh")
	for _, want := range []string{"bin/alpha", "bin/beta", "total", " MB", "v1.2.3"} {
		if !strings.Contains(out, want) {
			t.Errorf("no %q in\n%s", want, out)
		}
	}
	if got := names(t, filepath.Join(suite, "bin")); got != "alpha beta" {
		t.Errorf("bin/ holds %s", got)
	}
	if out := run(t, suite, "bin/alpha"); out != "v1.2.3 nothing\n" {
		t.Errorf("the plugin says %q", out)
	}
	alpha := filepath.Join(suite, "bin", "alpha")
	first, err := os.ReadFile(alpha)
	must(t, err)
	file, err := elf.Open(alpha)
	must(t, err)
	for _, p := range file.Progs {
		if p.Type == elf.PT_INTERP {
			t.Error("the plugin is not static")
		}
	}
	if file.Section(".debug_info") != nil || file.Section(".symtab") != nil {
		t.Error("the plugin is not stripped")
	}

	// The same sources elsewhere give the same bytes.
	other := scratchSuite(t)
	run(t, other, "./build_linux.sh")
	second, err := os.ReadFile(filepath.Join(other, "bin", "alpha"))
	must(t, err)
	if string(first) != string(second) {
		t.Error("the build is not reproducible")
	}

	// Arguments for go are added to ours, from any working directory.
	run(t, "/", filepath.Join(suite, "build_linux.sh"), "-ldflags", "-X main.extra=more", "-tags", "x")
	if out := run(t, suite, "bin/alpha"); out != "v1.2.3 more\n" {
		t.Errorf("with -ldflags the plugin says %q", out)
	}
	must(t, os.WriteFile(filepath.Join(suite, "internal/plugin/plugin.go"), []byte("package plugin\n\nvar Version = \"x\"\n"), 0o644))
	run(t, suite, "./build_linux.sh", "-ldflags=-X main.extra=more")
	if out := run(t, suite, "bin/alpha"); out != "v1.2.3-dirty more\n" {
		t.Errorf("with a changed file the plugin says %q", out)
	}
	must(t, os.RemoveAll(filepath.Join(suite, ".git")))
	run(t, suite, "./build_linux.sh")
	if out := run(t, suite, "bin/alpha"); out != "unknown nothing\n" {
		t.Errorf("without git the plugin says %q", out)
	}

	// Two plugins of one name are an error and not one plugin.
	must(t, os.CopyFS(filepath.Join(suite, "plugins/meta/alpha"), os.DirFS(filepath.Join(suite, "plugins/main/alpha"))))
	cmd := exec.Command(filepath.Join(suite, "build_linux.sh"))
	if out, err := cmd.CombinedOutput(); err == nil || !strings.Contains(string(out), "both named alpha") {
		t.Errorf("two plugins of one name: %v: %s", err, out)
	}
}

// sizeMax is how many bytes a stripped plugin may have: of bridge 1.5 MB is libraries' (netlink, JSON, os/exec,
// debug/buildinfo, go-iptables with regexp) and 2.4 MB Go itself.
const sizeMax = 5_700_000

// largerMax is for those that are more than a plugin.
var largerMax = map[string]int64{
	"dhcp":     6_000_000, // and the daemon, with both protocols
	"firewall": 6_000_000, // and a client of D-Bus
}

// TestSizes: every plugin is there, and none is larger than it may be.
func TestSizes(t *testing.T) {
	t.Parallel()
	folders, err := filepath.Glob(filepath.Join(root, "plugins", "*", "*", "main.go"))
	must(t, err)
	if len(folders) < 19 {
		t.Fatalf("only %d plugins found", len(folders))
	}
	for _, main := range folders {
		name := filepath.Base(filepath.Dir(main))
		most := int64(sizeMax)
		if larger, ok := largerMax[name]; ok {
			most = larger
		}
		file, err := os.Stat(filepath.Join(plugins, name))
		must(t, err)
		if file.Size() > most {
			t.Errorf("%s has %d bytes, and may have %d: look at 'go list -deps' and 'go tool nm -size -sort size' for what is new", name, file.Size(), most)
		}
	}
}

func TestInstall(t *testing.T) {
	t.Parallel()
	suite := scratchSuite(t)
	dir := filepath.Join(t.TempDir(), "cni", "bin")
	must(t, os.MkdirAll(dir, 0o755))
	must(t, os.WriteFile(filepath.Join(dir, "other"), []byte("not ours"), 0o700))
	out := run(t, suite, "./build_linux.sh", "--install", dir, "-ldflags", "-X main.extra=first")
	if want := "installed in " + dir + ": alpha beta\n"; !strings.Contains(out, want) {
		t.Errorf("no %q in\n%s", want, out)
	}
	// A plugin that runs is replaced all the same, and runs on.
	running := exec.Command(filepath.Join(dir, "beta"))
	must(t, running.Start())
	defer func() {
		running.Process.Kill()
		running.Wait()
	}()
	before, err := os.Stat(filepath.Join(dir, "beta"))
	must(t, err)
	run(t, suite, "./build_linux.sh", "--install="+dir)
	after, err := os.Stat(filepath.Join(dir, "beta"))
	must(t, err)
	if os.SameFile(before, after) {
		t.Error("the running file was written into")
	}
	if after.Mode() != 0o755 {
		t.Errorf("mode %v", after.Mode())
	}
	if got := names(t, dir); got != "alpha beta other" {
		t.Errorf("the folder holds %s", got)
	}
	if out := run(t, dir, "./alpha"); out != "v1.2.3 nothing\n" {
		t.Errorf("the plugin says %q", out)
	}
	// A folder in a plugin's place is an error, and no temporary file stays.
	must(t, os.Remove(filepath.Join(dir, "alpha")))
	must(t, os.Mkdir(filepath.Join(dir, "alpha"), 0o755))
	if out, err := exec.Command(filepath.Join(suite, "build_linux.sh"), "--install", dir).CombinedOutput(); err == nil {
		t.Errorf("a folder was replaced: %s", out)
	}
	if got := names(t, dir); got != "alpha beta other" {
		t.Errorf("the folder holds %s", got)
	}
}

// TestInstallLooks: whoever installs is told where the runtimes of the host look for plugins, and what is in the way.
func TestInstallLooks(t *testing.T) {
	t.Parallel()
	suite := scratchSuite(t)
	const (
		debian = "version = 2\n[plugins]\n  [plugins.\"io.containerd.grpc.v1.cri\".cni]\n    # bin_dir = \"/opt/cni/bin\"\n    bin_dir = \"/usr/lib/cni\"\n"
		other  = "#!/bin/sh\n"
	)
	for name, c := range map[string]struct {
		files map[string]string
		args  []string
		want  []string // lines after the one that names the plugins
	}{
		"no runtime": {want: nil},
		"containerd, and no configuration": {
			files: map[string]string{"/usr/local/bin/containerd": other},
			want:  []string{"containerd looks for plugins in /opt/cni/bin (its default)"},
		},
		"containerd of Debian's": {
			files: map[string]string{"/etc/containerd/config.toml": debian, "/usr/lib/cni/alpha": other},
			want: []string{"containerd looks for plugins in /usr/lib/cni (/etc/containerd/config.toml)",
				"build_linux.sh: warning: containerd does not look in /opt/cni/bin: name it in bin_dir or bin_dirs of /etc/containerd/config.toml, or install in /usr/lib/cni"},
		},
		"containerd of Debian's, and its folder": {
			files: map[string]string{"/etc/containerd/config.toml": debian, "/usr/lib/cni/alpha": other}, args: []string{"/usr/lib/cni"},
			want: []string{"containerd looks for plugins in /usr/lib/cni (/etc/containerd/config.toml)"},
		},
		"containerd 2 with folders in an import": {
			files: map[string]string{
				"/etc/containerd/config.toml":   "version = 3\nimports = ['/etc/containerd/conf.d/*.toml', \"own.toml\"]\n[plugins.'io.containerd.cri.v1.runtime'.cni]\nbin_dirs = []\n",
				"/etc/containerd/conf.d/a.toml": "imports = [\"/etc/containerd/config.toml\"]\n",
				"/etc/containerd/own.toml":      "[plugins.'io.containerd.cri.v1.runtime'.cni]\n  bin_dirs = [ # two\n    '/usr/lib/cni', # first\n    \"/opt/cni/bin\",\n  ]\n",
				"/usr/lib/cni/beta":             other, "/usr/lib/cni/gamma": other,
			},
			want: []string{"containerd looks for plugins in /usr/lib/cni /opt/cni/bin (/etc/containerd/own.toml)",
				"build_linux.sh: warning: containerd takes beta of /usr/lib/cni before ours: remove them, or name /opt/cni/bin first in bin_dir or bin_dirs of /etc/containerd/own.toml"},
		},
		"podman beside Debian's plugins": {
			files: map[string]string{"/usr/bin/podman": other, "/usr/lib/cni/beta": other, "/usr/lib/cni/alpha": other},
			want: []string{"podman looks for plugins in /usr/local/libexec/cni /usr/libexec/cni /usr/local/lib/cni /usr/lib/cni /opt/cni/bin (its default)",
				"build_linux.sh: warning: podman takes alpha beta of /usr/lib/cni before ours: remove them, or name /opt/cni/bin first in cni_plugin_dirs of /etc/containers/containers.conf"},
		},
		"podman, the last file counts": {
			files: map[string]string{
				"/usr/share/containers/containers.conf":    "[network]\ncni_plugin_dirs = [\"/usr/libexec/cni\"]\n",
				"/etc/containers/containers.conf":          "[network]\n#cni_plugin_dirs = [\n#  \"/none\",\n#]\n",
				"/etc/containers/containers.conf.d/z.conf": "[network]\ncni_plugin_dirs=[\"/opt/cni/bin\",\"/usr/lib/cni\"]\n",
				"/usr/lib/cni/beta":                        other,
			},
			want: []string{"podman looks for plugins in /opt/cni/bin /usr/lib/cni (/etc/containers/containers.conf.d/z.conf)"},
		},
		"podman without plugins": {
			files: map[string]string{"/usr/bin/podman": other, "/etc/containers/containers.conf": "[network]\nnetwork_backend = \"netavark\"\n"},
		},
		"CRI-O": {
			files: map[string]string{"/usr/bin/crio": other, "/etc/crio/crio.conf.d/10-crio.conf": "[crio.network]\nplugin_dirs = [\n\t\"/usr/libexec/cni/\",\n]\n"},
			want: []string{"CRI-O looks for plugins in /usr/libexec/cni/ (/etc/crio/crio.conf.d/10-crio.conf)",
				"build_linux.sh: warning: CRI-O does not look in /opt/cni/bin: name it in plugin_dirs of /etc/crio/crio.conf.d/10-crio.conf, or install in /usr/libexec/cni/"},
		},
		"CRI-O, and no configuration": {
			files: map[string]string{"/usr/bin/crio": other, "/usr/libexec/cni/alpha": other},
			want:  []string{"CRI-O looks for plugins in /opt/cni/bin /usr/libexec/cni (its default)"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			host := t.TempDir()
			for path, text := range c.files {
				must(t, os.MkdirAll(filepath.Join(host, filepath.Dir(path)), 0o755))
				must(t, os.WriteFile(filepath.Join(host, path), []byte(text), 0o755))
			}
			out := run(t, suite, "env", append([]string{"DESTDIR=" + host, "./build_linux.sh", "--install"}, c.args...)...)
			_, after, _ := strings.Cut(out, ": alpha beta\n")
			if got, want := strings.TrimSpace(after), strings.Join(c.want, "\n"); got != want {
				t.Errorf("got\n%s\nwant\n%s", got, want)
			}
			dir := "/opt/cni/bin"
			if c.args != nil {
				dir = c.args[0]
			}
			if _, err := os.Stat(filepath.Join(host, dir, "alpha")); err != nil {
				t.Error(err)
			}
		})
	}
}

// TestAbout: a plugin that is run by hand says in upstream's words what it is; schedulers read its version there, and
// others look for the whole line.
func TestAbout(t *testing.T) {
	t.Parallel()
	for _, name := range strings.Fields(names(t, plugins)) {
		var said strings.Builder
		cmd := exec.Command(filepath.Join(plugins, name))
		cmd.Stderr = &said
		out, err := cmd.Output()
		must(t, err)
		lines := strings.Split(said.String(), "\n")
		if len(out) != 0 || len(lines) < 2 || !strings.HasPrefix(lines[0], "CNI "+name+" plugin ") || !strings.HasPrefix(lines[1], "CNI protocol versions supported: 0.1.0, ") {
			t.Errorf("%s says %q and %q", name, out, said.String())
		}
		if by, err := exec.Command(filepath.Join(plugins, name), "--version").Output(); err != nil || string(by) != lines[0]+"\n"+lines[1]+"\n" {
			t.Errorf("%s --version: %v: %q", name, err, by)
		}
	}
}
