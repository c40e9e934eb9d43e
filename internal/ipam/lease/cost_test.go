package lease

import (
	"bytes"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/catena-cni/catena/internal/kerneltest"
)

// countCalls runs the test named in a process of its own and returns how
// often it made each system call.
func countCalls(t *testing.T, test, dir string) map[string]int {
	t.Helper()
	kerneltest.NeedsPrograms(t, "strace")
	strace, err := exec.LookPath("strace")
	if err != nil {
		t.Fatal("strace is not installed")
	}
	trace := filepath.Join(t.TempDir(), "trace")
	cmd := exec.Command(strace, "-f", "-o", trace, os.Args[0], "-test.run=^"+test+"$", "-test.count=1")
	cmd.Env = append(os.Environ(), "LEASE_TEST_DIR="+dir)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	text, err := os.ReadFile(trace)
	must(t, err)
	_, text, _ = bytes.Cut(text, []byte("/marker-begin"))
	text, _, _ = bytes.Cut(text, []byte("/marker-end"))
	calls := make(map[string]int)
	for line := range bytes.Lines(text) {
		// The process, and a call; or a call's end, where another thread's came between: "<... openat resumed>".
		fields := bytes.Fields(line)
		if len(fields) < 2 {
			continue
		}
		name, _, begun := bytes.Cut(fields[1], []byte("("))
		if !begun && len(fields) > 2 {
			name = fields[2]
		}
		if begun {
			calls[string(name)]++
		}
		if string(name) == "getdents64" && bytes.HasSuffix(bytes.TrimSpace(line), []byte("= 0")) {
			calls[wholeFolder]++
		}
	}
	return calls
}

// wholeFolder counts the folders that were read to their end.
const wholeFolder = "folders read"

// inMemory returns a folder on a file system without a disk, where there is one.
func inMemory(t testing.TB) string {
	dir, err := os.MkdirTemp("/dev/shm", "lease")
	if err != nil {
		return t.TempDir()
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

// fill makes n leases as upstream would, from base+1 on, and the index.
func fill(t testing.TB, s *Store, base netip.Addr, n int) {
	t.Helper()
	must(t, os.MkdirAll(s.Path(), 0o700))
	at := base
	for i := range n {
		at = at.Next()
		fd, err := unix.Open(filepath.Join(s.Path(), at.String()), unix.O_CREAT|unix.O_WRONLY|unix.O_CLOEXEC, 0o600)
		must(t, err)
		_, err = unix.Write(fd, fmt.Appendf(nil, "c%063d\r\neth0", i))
		must(t, err)
		unix.Close(fd)
	}
	must(t, s.Del(own("nobody"))) // completes the index
}

func TestOneFreeAddress(t *testing.T) {
	if dir := os.Getenv("LEASE_TEST_DIR"); dir != "" {
		s, _ := networkIn(t, dir)
		os.Stat("/marker-begin")
		got := mustAdd(t, s, Request{Owner: own("new"), Sets: sets(t, "10.1.0.0/16")})
		os.Stat("/marker-end")
		if got != "10.1.0.2" {
			t.Errorf("got %s", got)
		}
		return
	}
	t.Parallel()
	kerneltest.NeedsTime(t)
	const n = 65532
	dir := inMemory(t)
	s, _ := networkIn(t, dir)
	fill(t, s, addr("10.1.0.2"), n)
	write(t, filepath.Join(s.Path(), "last_reserved_ip.0"), "10.1.0.2")
	must(t, s.Del(own("nobody")))
	start := time.Now()
	must(t, s.Status(sets(t, "10.1.0.0/16")))
	t.Logf("STATUS took %v", time.Since(start))
	start = time.Now()
	dry, err := s.Preview(Request{Owner: own("new"), Sets: sets(t, "10.1.0.0/16")})
	must(t, err)
	t.Logf("finding %s took %v", text(dry), time.Since(start))
	calls := countCalls(t, "TestOneFreeAddress", dir)
	if opens := calls["openat"]; opens > 40 || calls[wholeFolder] != 1 {
		t.Errorf("%d opens, and %d folders were read, not one: %v", opens, calls[wholeFolder], calls)
	}
}

// The price of a call is the same however many leases there are.
func TestCostIsConstant(t *testing.T) {
	both := sets(t, "10.0.0.0/8", "fd00::/64")
	if dir := os.Getenv("LEASE_TEST_DIR"); dir != "" {
		s, _ := networkIn(t, dir)
		os.Stat("/marker-begin")
		mustAdd(t, s, Request{Owner: own("new"), Netns: "/proc/self/ns/net", Sets: both})
		must(t, s.Check(own("new"), nil))
		must(t, s.Status(both))
		must(t, s.Del(own("new")))
		must(t, s.Del(own("unknown")))
		mustAdd(t, s, Request{Owner: own("new"), Netns: "/proc/self/ns/net", Sets: both, Sticky: true, Identity: "web-0"})
		must(t, s.Del(own("new")))
		mustAdd(t, s, Request{Owner: own("new"), Netns: "/proc/self/ns/net", Sets: both, Sticky: true, Identity: "web-0"})
		os.Stat("/marker-end")
		return
	}
	t.Parallel()
	// Calls of the store, without those by which Go starts threads.
	total := func(n int) (sum int) {
		dir := t.TempDir()
		s, _ := networkIn(t, dir)
		fill(t, s, addr("10.1.0.1"), n)
		calls := countCalls(t, "TestCostIsConstant", dir)
		for _, call := range []string{"openat", "read", "readlinkat", "newfstatat", "fstat", "unlinkat", "symlinkat", "getdents64", "pwrite64"} {
			sum += calls[call]
		}
		t.Logf("with %d leases: %v", n, calls)
		return sum
	}
	few, many := total(0), total(2000)
	if many > few+10 {
		t.Errorf("eight calls take %d system calls with no lease and %d with 2000", few, many)
	}
}

// BenchmarkAddDense finds the one free address of 65,532.
func BenchmarkAddDense(b *testing.B) {
	s, _ := networkIn(b, inMemory(b))
	fill(b, s, addr("10.1.0.2"), 65532)
	write(b, filepath.Join(s.Path(), "last_reserved_ip.0"), "10.1.0.2")
	must(b, s.Del(own("nobody")))
	ranges := sets(b, "10.1.0.0/16")
	for b.Loop() {
		if _, err := s.Preview(Request{Owner: own("new"), Sets: ranges}); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkAdd(b *testing.B) {
	for _, n := range []int{0, 1000, 60000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			s, _ := networkIn(b, inMemory(b))
			fill(b, s, addr("10.1.0.1"), n)
			ranges := sets(b, "10.0.0.0/8")
			for b.Loop() {
				if _, err := s.Add(Request{Owner: own("new"), Netns: "/proc/self/ns/net", Sets: ranges}); err != nil {
					b.Fatal(err)
				}
				b.StopTimer()
				must(b, s.Del(own("new")))
				b.StartTimer()
			}
		})
	}
}

func BenchmarkDel(b *testing.B) {
	for _, n := range []int{0, 1000, 60000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			s, _ := networkIn(b, inMemory(b))
			fill(b, s, addr("10.1.0.1"), n)
			ranges := sets(b, "10.0.0.0/8")
			for b.Loop() {
				b.StopTimer()
				mustAdd(b, s, Request{Owner: own("new"), Netns: "/proc/self/ns/net", Sets: ranges})
				b.StartTimer()
				if err := s.Del(own("new")); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
