package lease

import (
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/catena-cni/catena/internal/kerneltest"
)

func TestMain(m *testing.M) { kerneltest.Main(m) }

// elsewhere runs the rest of a test in a process with a mount namespace of
// its own, in which it may do to the host what it likes. It returns an empty
// folder there, and false in the process that is to do nothing more.
func elsewhere(t *testing.T) (string, bool) {
	t.Helper()
	if dir := os.Getenv("LEASE_TEST_WORLD"); dir != "" {
		return dir, true
	}
	t.Parallel()
	kerneltest.NeedsNamespaces(t)
	cmd := exec.Command(os.Args[0], "-test.run=^"+t.Name()+"$", "-test.v")
	cmd.Env = append(os.Environ(), "LEASE_TEST_WORLD="+t.TempDir())
	cmd.SysProcAttr = &syscall.SysProcAttr{Unshareflags: syscall.CLONE_NEWNS}
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
	return "", false
}

// boots makes this process see another boot of the kernel.
func boots(t *testing.T, dir, id string) {
	t.Helper()
	file := filepath.Join(dir, "boot-"+id)
	write(t, file, id+"\n")
	must(t, unix.Mount(file, "/proc/sys/kernel/random/boot_id", "", unix.MS_BIND, ""))
}

func TestAfterReboot(t *testing.T) {
	dir, ok := elsewhere(t)
	if !ok {
		return
	}
	s, folder := networkIn(t, filepath.Join(dir, "data"))
	three := sets(t, "10.0.0.0/29 10.0.0.2-10.0.0.4")
	netns := aNetns(t)
	add := func(id string) (string, error) {
		leases, err := s.Add(Request{Owner: own(id), Netns: netns, Sets: three})
		return text(leases), err
	}
	boots(t, dir, "first")
	for _, id := range []string{"a", "b", "c"} {
		if _, err := add(id); err != nil {
			t.Fatal(err)
		}
	}
	_, err := add("a")
	wantErr(t, err, os.ErrExist)

	boots(t, dir, "second")
	if got, err := add("a"); got != "10.0.0.2" || err != nil {
		t.Errorf("the same container got %s, %v", got, err)
	}
	_, err = add("a")
	wantErr(t, err, os.ErrExist)
	must(t, s.Status(three))
	for _, id := range []string{"d", "e"} {
		if _, err := add(id); err != nil {
			t.Error(err)
		}
	}
	_, err = add("f")
	wantErr(t, err, ErrFull, "3 held by 3 containers")
	wantErr(t, s.Status(three), ErrFull)
	want := "10.0.0.2=a|eth0 10.0.0.3=e|eth0 10.0.0.4=d|eth0"
	if got := files(t, folder); !strings.HasPrefix(got, want) && !strings.HasPrefix(got, "10.0.0.2=a|eth0 10.0.0.3=d|eth0 10.0.0.4=e|eth0") {
		t.Errorf("files %s", got)
	}

	// A boot that cannot be known is no proof of another.
	boots(t, dir, "")
	_, err = add("a")
	wantErr(t, err, os.ErrExist)
	_, err = add("f")
	wantErr(t, err, ErrFull)
}

func TestFullDisk(t *testing.T) {
	kerneltest.NeedsRoot(t, "taking /proc away")
	dir, ok := elsewhere(t)
	if !ok {
		return
	}
	both := sets(t, "10.0.0.0/24", "fd00::/64")
	fillDisks(t, dir, both)
	// Without /proc a file cannot get its name late, as on some file systems.
	must(t, unix.Unmount("/proc", unix.MNT_DETACH))
	fillDisks(t, filepath.Join(dir, "named"), both)
	full := filepath.Join(dir, "full")
	must(t, os.Mkdir(full, 0o755))
	must(t, unix.Mount("tmpfs", full, "tmpfs", 0, "size=8k"))
	s, _ := networkIn(t, full)
	_ = os.WriteFile(filepath.Join(full, "fat"), make([]byte, 8192), 0o600)
	wantErr(t, s.Status(both), unix.ENOSPC, full)
}

// fillDisks takes addresses on disks that are a little larger each.
func fillDisks(t *testing.T, dir string, both []Set) {
	succeeded := 0
	for n := range 16 {
		for _, option := range []string{fmt.Sprintf("nr_inodes=%d", n+1), fmt.Sprintf("size=%dk", 4*(n+1))} {
			t.Run(option, func(t *testing.T) {
				data := filepath.Join(dir, option)
				must(t, os.MkdirAll(data, 0o755))
				must(t, unix.Mount("tmpfs", data, "tmpfs", 0, option))
				s, folder := networkIn(t, data)
				leases, err := s.Add(Request{Owner: own("a"), Netns: "/proc/self/ns/net", Sets: both})
				if err != nil {
					wantErr(t, err, unix.ENOSPC, data)
					got := files(t, folder)
					if strings.Contains(got, "a|eth0") || strings.Contains(" "+got, " 10.") || strings.Contains(" "+got, " fd") || strings.HasSuffix(got, "=") {
						t.Errorf("left %s after %v", got, err)
					}
				} else {
					succeeded++
					must(t, s.Check(own("a"), []netip.Addr{leases[0].Address.Addr(), leases[1].Address.Addr()}))
				}
				must(t, s.Del(own("a")))
				must(t, s.GC(nil))
			})
		}
	}
	if succeeded < 8 {
		t.Errorf("only %d of 32 disks were large enough", succeeded)
	}
}

func TestReadOnlyDisk(t *testing.T) {
	dir, ok := elsewhere(t)
	if !ok {
		return
	}
	ranges := sets(t, "10.0.0.0/24")
	s, folder := networkIn(t, dir)
	mustAdd(t, s, Request{Owner: own("a"), Netns: "/proc/self/ns/net", Sets: ranges})
	before := files(t, folder)
	must(t, unix.Mount(dir, dir, "", unix.MS_BIND, ""))
	must(t, unix.Mount("", dir, "", unix.MS_BIND|unix.MS_REMOUNT|unix.MS_RDONLY, ""))

	_, err := s.Add(Request{Owner: own("b"), Sets: ranges})
	wantErr(t, err, unix.EROFS, "10.0.0.3")
	wantErr(t, s.Status(ranges), unix.EROFS, folder)
	wantErr(t, s.Del(own("a")), unix.EROFS, "10.0.0.2")
	wantErr(t, s.GC(nil), unix.EROFS, "10.0.0.2")
	must(t, s.Del(own("unknown")))
	must(t, s.Check(own("a"), nil))
	must(t, s.Check(own("a"), []netip.Addr{addr("10.0.0.2")}))
	if dry, err := s.Preview(Request{Owner: own("b"), Sets: ranges}); err != nil || text(dry) != "10.0.0.3" {
		t.Errorf("foretold %v, %v", dry, err)
	}
	other, _ := Open(dir, "other")
	_, err = other.Add(Request{Owner: own("b"), Sets: ranges})
	wantErr(t, err, unix.EROFS, "other")
	if got := files(t, folder); got != before {
		t.Errorf("files became %s", got)
	}
}

func TestForbiddenFolder(t *testing.T) {
	kerneltest.NeedsRoot(t, "another user")
	dir, ok := elsewhere(t)
	if !ok {
		return
	}
	ranges := sets(t, "10.0.0.0/24")
	s, folder := networkIn(t, filepath.Join(dir, "data"))
	mustAdd(t, s, Request{Owner: own("a"), Netns: "/proc/self/ns/net", Sets: ranges})
	readable, _ := networkIn(t, filepath.Join(dir, "readable"))
	mustAdd(t, readable, Request{Owner: own("a"), Netns: "/proc/self/ns/net", Sets: ranges})
	must(t, os.Chmod(readable.Path(), 0o755))
	must(t, os.Chmod(filepath.Dir(readable.Path()), 0o755))
	must(t, os.Chmod(filepath.Join(readable.Path(), lockName), 0o644))
	must(t, os.Chmod(filepath.Dir(folder), 0o755))
	must(t, syscall.Setuid(65534))

	for _, s := range []*Store{s, readable} {
		_, err := s.Add(Request{Owner: own("b"), Sets: ranges})
		wantErr(t, err, os.ErrPermission, s.Path())
		wantErr(t, s.Status(ranges), os.ErrPermission, s.Path())
		wantErr(t, s.GC(nil), os.ErrPermission, s.Path())
		wantErr(t, s.Del(own("a")), os.ErrPermission, s.Path())
		wantErr(t, s.Check(own("a"), nil), os.ErrPermission, s.Path())
		wantErr(t, s.Check(own("a"), []netip.Addr{addr("10.0.0.2")}), os.ErrPermission, s.Path())
	}
}
