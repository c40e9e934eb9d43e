package kerneltest

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// Main runs a package's tests, and removes what Build has built. A plain user's
// go on in a user namespace in which they are root, so that go test ./... needs
// nobody's leave; where the machine allows none, the tests that need it are
// skipped, and all others run.
func Main(m *testing.M) {
	os.Setenv("PATH", os.Getenv("PATH")+":/usr/sbin:/sbin") // a plain user's lacks these
	if os.Geteuid() != 0 {
		code, err := asRoot()
		if err == nil {
			os.Exit(code)
		}
		forbidden = err
	} else if plain() {
		forbidden = private()
	}
	code := m.Run()
	if built.dir != "" {
		_ = os.RemoveAll(built.dir)
	}
	os.Exit(code)
}

// forbidden is why this process can make no namespaces.
var forbidden error

// theRest is how what a plain user cannot run is run.
const theRest = "; sudo ./integration/test.sh runs it"

// asRoot runs this program in a user namespace, and gives its exit code.
func asRoot() (int, error) {
	runtime.LockOSThread() // the signal comes with the end of the thread
	defer runtime.UnlockOSThread()
	c := exec.Command("/proc/self/exe")
	c.Args = os.Args // tests execute their own program by its name
	c.Stdin, c.Stdout, c.Stderr = os.Stdin, os.Stdout, os.Stderr
	c.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags:  unix.CLONE_NEWUSER | unix.CLONE_NEWNS | unix.CLONE_NEWNET,
		UidMappings: []syscall.SysProcIDMap{{HostID: os.Geteuid(), Size: 1}},
		GidMappings: []syscall.SysProcIDMap{{HostID: os.Getegid(), Size: 1}},
		Pdeathsig:   syscall.SIGKILL,
	}
	err := c.Run()
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		return max(exit.ExitCode(), 1), nil
	}
	return 0, err
}

// private makes this process's mounts its own, with a folder for state that a
// machine without a runtime lacks, and that a plain user cannot make.
func private() error {
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return os.NewSyscallError("mount", err)
	}
	if _, err := os.Stat("/var/lib/cni"); err == nil {
		return nil
	}
	if err := unix.Mount("tmpfs", "/var/lib", "tmpfs", 0, "mode=755"); err != nil {
		return os.NewSyscallError("mount", err)
	}
	return os.Mkdir("/var/lib/cni", 0o700)
}

// plain says whether root here is root of a user namespace alone.
func plain() bool {
	ids, err := os.ReadFile("/proc/self/uid_map")
	return err == nil && strings.Join(strings.Fields(string(ids)), " ") != "0 0 4294967295"
}

// RootMain is Main for a package that needs the machine's own root for every
// test: a plain user runs none of them.
func RootMain(m *testing.M) {
	if os.Geteuid() == 0 && !plain() {
		Main(m)
	}
	flag.Parse()
	if err := flag.Set("test.skip", "."); err != nil {
		panic(err)
	}
	fmt.Println("these tests need root" + theRest)
	os.Exit(m.Run())
}

// NeedsNamespaces leaves the calling test to root where a plain user can have
// no namespaces.
func NeedsNamespaces(t testing.TB) {
	t.Helper()
	switch {
	case forbidden != nil:
		t.Skipf("needs root, as this machine gives a plain user no namespaces: %v%s", forbidden, theRest)
	case os.Geteuid() != 0:
		t.Fatal("this package's TestMain is not kerneltest.Main")
	}
}

// NeedsRoot leaves the calling test to the machine's own root, for what root of
// a user namespace cannot do.
func NeedsRoot(t testing.TB, what string) {
	t.Helper()
	NeedsNamespaces(t)
	if plain() {
		t.Skip("needs root, for " + what + theRest)
	}
}

// NeedsTime leaves the calling test to whole runs where a short one was asked for:
// it repeats, races or kills until something breaks, or runs many programs.
func NeedsTime(t testing.TB) {
	t.Helper()
	if testing.Short() {
		t.Skip("needs time" + theRest)
	}
}

// NeedsPrograms leaves the calling test to root where a plain user's machine
// lacks a program: root's tests install it.
func NeedsPrograms(t testing.TB, names ...string) {
	t.Helper()
	for _, name := range names {
		if _, err := exec.LookPath(name); err != nil && plain() {
			t.Skipf("needs a program: %v; sudo ./integration/test.sh installs it", err)
		}
	}
}
