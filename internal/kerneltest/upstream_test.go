package kerneltest

import (
	"os/exec"
	"strings"
	"testing"
)

func TestMain(m *testing.M) { Main(m) }

// TestUpstream builds one from a sandbox, where there is no network.
func TestUpstream(t *testing.T) {
	NeedsTime(t)
	NeedsRoot(t, "the network from which the modules come")
	t.Setenv("XDG_CACHE_HOME", t.TempDir())
	New(t)
	path := Upstream(t, "loopback")
	if again := Upstream(t, "loopback"); again != path {
		t.Errorf("it is at %s, and at %s", path, again)
	}
	cmd := exec.Command(path)
	cmd.Env = []string{"CNI_COMMAND=VERSION"}
	out, err := cmd.CombinedOutput()
	if err != nil || !strings.Contains(string(out), `"1.0.0"`) {
		t.Errorf("VERSION: %v\n%s", err, out)
	}
}
