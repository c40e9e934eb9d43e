package kerneltest

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"sync"
	"testing"
)

// upstreamModule is the peer. go.mod names its version, and its plugins are
// built from its own module, so that ours does not have its dependencies.
const upstreamModule = "github.com/containernetworking/plugins"

// Upstream returns the path of one of upstream's plugins, by name. It is built
// the first time that anybody on this machine asks for it, into the user's
// cache folder. Where CATENA_UPSTREAM names a folder, it is taken from there.
func Upstream(t testing.TB, plugin string) string {
	t.Helper()
	if dir := os.Getenv("CATENA_UPSTREAM"); dir != "" {
		return filepath.Join(dir, plugin)
	}
	build, _ := upstream.LoadOrStore(plugin, sync.OnceValues(func() (path string, err error) {
		// Not on the test's own thread, which a sandbox cuts off from the network.
		done := make(chan struct{})
		go func() { path, err = BuildUpstream(plugin); close(done) }()
		<-done
		return path, err
	}))
	path, err := build.(func() (string, error))()
	if err != nil && plain() {
		t.Skipf("upstream's %s cannot be built without a network: %v%s", plugin, err, theRest)
	}
	if err != nil {
		t.Fatalf("upstream's %s cannot be built here: %v", plugin, err)
	}
	return path
}

var upstream sync.Map // name of a plugin to the function that builds it

// BuildUpstream is Upstream for a program that is no test. All plugins that it
// builds lie in one folder.
func BuildUpstream(plugin string) (string, error) {
	out, err := run("go", "mod", "download", "-json", upstreamModule)
	if err != nil {
		return "", err
	}
	var module struct{ Version, Dir string }
	if err := json.Unmarshal(out, &module); err != nil {
		return "", err
	}
	cache, err := os.UserCacheDir()
	if err != nil {
		return "", err
	}
	dir := filepath.Join(cache, "catena", "upstream-"+module.Version+"-"+runtime.GOARCH)
	path := filepath.Join(dir, plugin)
	if _, err := os.Stat(path); err == nil {
		return path, nil
	}
	source, err := filepath.Glob(filepath.Join(module.Dir, "plugins", "*", plugin))
	if err != nil || len(source) != 1 {
		return "", fmt.Errorf("%s %s has no plugin %q", upstreamModule, module.Version, plugin)
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", err
	}
	// Others may build the same now: the last one's takes its place as a whole.
	building, err := os.MkdirTemp(dir, "building-")
	if err != nil {
		return "", err
	}
	defer os.RemoveAll(building)
	if _, err := run("go", "build", "-C", source[0], "-trimpath", "-ldflags=-s -w", "-o", building+"/", "."); err != nil {
		return "", err
	}
	return path, os.Rename(filepath.Join(building, plugin), path)
}

func run(args ...string) ([]byte, error) {
	cmd := exec.Command(args[0], args[1:]...)
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOWORK=off")
	if plain() { // there is no network to wait for
		cmd.Env = append(cmd.Env, "GOPROXY=off")
	}
	out, err := cmd.Output()
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		err = fmt.Errorf("%v: %w: %s%s", args, err, out, exit.Stderr)
	}
	return out, err
}
