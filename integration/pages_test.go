package integration

import (
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// pages are the texts for people, by their paths.
func pages(t *testing.T) map[string]string {
	t.Helper()
	texts := map[string]string{}
	must(t, filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && (strings.HasPrefix(d.Name(), ".") || d.Name() == "testdata" || path == filepath.Join(root, "release")):
			return fs.SkipDir
		case strings.HasSuffix(path, ".md"):
			text, err := os.ReadFile(path)
			texts[path] = string(text)
			return err
		}
		return nil
	}))
	if len(texts) < 20 {
		t.Fatalf("only %d pages were found", len(texts))
	}
	return texts
}

// commands gives the lines of a page's code blocks, without their comments.
func commands(text string) (lines []string) {
	for line := range strings.Lines(text) {
		if command, ok := strings.CutPrefix(line, "    "); ok {
			command, _, _ = strings.Cut(command, "  #")
			lines = append(lines, strings.TrimSpace(command))
		}
	}
	return lines
}

var (
	link = regexp.MustCompile(`\]\(([^)#:]+)(?:#[^)]*)?\)`)
	// own is a file of the repository, as a command names it from its root.
	own = regexp.MustCompile(`(?:^|[ =])((?:\./)?(?:build_linux\.sh|integration|internal|plugins|conflist-examples)\b[^ ]*)`)
	// forPeople are the commands that touch nothing.
	forPeople = regexp.MustCompile(`^(jq .*|bin/[a-z-]+ (schema|plan|result|version)( .*)?)$`)
)

// TestPages: the files that the pages lead to, and that their commands name, are there.
func TestPages(t *testing.T) {
	t.Parallel()
	for page, text := range pages(t) {
		for _, found := range link.FindAllStringSubmatch(text, -1) {
			if _, err := os.Stat(filepath.Join(filepath.Dir(page), found[1])); err != nil {
				t.Errorf("%s leads to what is not there: %v", page, err)
			}
		}
		for _, command := range commands(text) {
			for _, found := range own.FindAllStringSubmatch(command, -1) {
				files, err := filepath.Glob(filepath.Join(root, strings.TrimSuffix(found[1], "/...")))
				if err != nil || len(files) == 0 {
					t.Errorf("%s says %q, and there is no %s", page, command, found[1])
				}
			}
		}
	}
}

// TestCommands runs those of the pages' commands that touch nothing, as written and in their order, where README has one build
// the plugins into bin/.
func TestCommands(t *testing.T) {
	t.Parallel()
	n, ran := newNode(t), 0
	for page, text := range pages(t) {
		dir := t.TempDir()
		for _, name := range []string{"conflist-examples", "plugins"} {
			must(t, os.Symlink(filepath.Join(root, name), filepath.Join(dir, name)))
		}
		must(t, os.Symlink(plugins, filepath.Join(dir, "bin")))
		for _, command := range commands(text) {
			if !forPeople.MatchString(command) {
				continue
			}
			ran++
			if out, err := n.Run("sh", "-ec", "cd "+dir+"; "+command); err != nil || !strings.Contains(command, ">") && out == "" {
				t.Errorf("%s says %q, which fails: %v\n%s", page, command, err, out)
			}
		}
	}
	if ran < 4 {
		t.Errorf("only %d commands were found", ran)
	}
}

// TestUnits: the units that the pages' commands start are there, and start what is built and take its flags.
func TestUnits(t *testing.T) {
	t.Parallel()
	started := regexp.MustCompile(`systemctl .* ([a-z-]+\.service)$`)
	ran := 0
	for page, text := range pages(t) {
		for _, command := range commands(text) {
			found := started.FindStringSubmatch(command)
			if found == nil {
				continue
			}
			unit, err := os.ReadFile(filepath.Join(filepath.Dir(page), "systemd", found[1]))
			must(t, err)
			_, start, ok := strings.Cut(string(unit), "\nExecStart=/opt/cni/bin/")
			if !ok {
				t.Fatalf("%s starts nothing of /opt/cni/bin:\n%s", found[1], unit)
			}
			start, _, _ = strings.Cut(start, "\n")
			args := strings.Fields(start + " -help")
			if out, err := exec.Command(filepath.Join(plugins, args[0]), args[1:]...).CombinedOutput(); err != nil {
				t.Errorf("%s says %q: %v\n%s", found[1], start, err, out)
			}
			for _, line := range regexp.MustCompile(`(?m)^(Requires|Also)=(.*)$`).FindAllStringSubmatch(string(unit), -1) {
				socket, err := os.ReadFile(filepath.Join(filepath.Dir(page), "systemd", line[2]))
				must(t, err)
				_, at, _ := strings.Cut(string(socket), "\nListenStream=")
				if at, _, _ = strings.Cut(at, "\n"); !strings.Contains(text, "`"+at+"`") {
					t.Errorf("%s listens at %q, and %s says something else", line[2], at, page)
				}
			}
			ran++
		}
	}
	if ran == 0 {
		t.Error("no page starts a unit")
	}
}
