package kerneltest

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// TestInside is what TestPlainUser has a plain user run.
func TestInside(t *testing.T) {
	s := New(t)
	s.Run("ip link add v0 type veth peer name v1 netns \"$POD\" && nft add table inet x && echo 1 > /proc/sys/net/ipv4/ip_forward")
	s.Has("pod ip link", "v1")
}

// TestPlainUser: without root a test has its namespaces all the same, and where
// the machine allows none it is left out and says what runs it.
func TestPlainUser(t *testing.T) {
	NeedsRoot(t, "another user")
	dir := t.TempDir() // which others may enter, as they may not go's
	binary, err := os.ReadFile("/proc/self/exe")
	if err != nil {
		t.Fatal(err)
	}
	program := filepath.Join(dir, "x.test")
	for _, err := range []error{os.WriteFile(program, binary, 0o755), os.Chmod(dir, 0o777), os.Chmod(filepath.Dir(dir), 0o755)} {
		if err != nil {
			t.Fatal(err)
		}
	}
	for _, row := range []struct{ before, want string }{
		{"true", "--- PASS: TestInside"},
		{"echo 0 > /proc/sys/user/max_user_namespaces", "--- SKIP: TestInside"},
	} {
		// In a user namespace of this test's own, which the limit is of.
		c := exec.Command("sh", "-ec", row.before+`; exec setpriv --reuid 4711 --regid 4711 --clear-groups "$0" -test.v -test.run '^TestInside$'`, program)
		c.Dir, c.Env = dir, append(os.Environ(), "TMPDIR="+dir)
		all := []syscall.SysProcIDMap{{Size: 65536}}
		c.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWUSER, UidMappings: all, GidMappings: all, GidMappingsEnableSetgroups: true}
		out, err := c.CombinedOutput()
		if err != nil || !strings.Contains(string(out), row.want) || strings.Contains(row.want, "SKIP") != strings.Contains(string(out), "sudo ./integration/test.sh runs it") {
			t.Errorf("%s: %v\n%s", row.before, err, out)
		}
	}
}
