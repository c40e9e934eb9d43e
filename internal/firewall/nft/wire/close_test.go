package wire

import (
	"math"
	"os"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/catena-cni/catena/internal/kerneltest"
)

// changed is a socket that has made a table and deleted it again.
func changed(t *testing.T) *Conn {
	t.Helper()
	c, err := Dial()
	if err != nil {
		t.Fatal(err)
	}
	table := Table{unix.NFPROTO_INET, "t"}
	for _, m := range []Message{table.NewTable(""), table.Message(unix.NFT_MSG_DELTABLE, 0, String(unix.NFTA_TABLE_NAME, "t"))} {
		if err := c.Commit([]Message{m}, 0); err != nil {
			t.Fatal(err)
		}
	}
	return c
}

// open counts the netfilter sockets of the namespace that the test is in.
func open(t *testing.T) (n int) {
	t.Helper()
	list, err := os.ReadFile("/proc/thread-self/net/netlink")
	if err != nil {
		t.Fatal(err)
	}
	for _, line := range strings.Split(string(list), "\n")[1:] {
		// The kernel's own has the port 0.
		if f := strings.Fields(line); len(f) > 2 && f[1] == "12" && f[2] != "0" {
			n++
		}
	}
	return n
}

// sleeps is how often the thread sleeps while a socket is closed, in the best of
// some rounds.
func sleeps(t *testing.T, closed func(*Conn)) int64 {
	t.Helper()
	slept := func() int64 {
		var usage unix.Rusage
		if err := unix.Getrusage(unix.RUSAGE_THREAD, &usage); err != nil {
			t.Fatal(err)
		}
		return int64(usage.Nvcsw) // of 32 bits on some machines
	}
	least := int64(math.MaxInt64)
	for range 15 {
		c := changed(t)
		before := slept()
		closed(c)
		least = min(least, slept()-before)
	}
	return least
}

// TestCloseWaitsForNobody: after a deletion a plain close of a socket sleeps, ours
// does not, and soon the kernel has none left.
func TestCloseWaitsForNobody(t *testing.T) {
	kerneltest.New(t)
	if !collects() {
		t.Skip("this kernel's collector has no thread of its own")
	}
	plain := sleeps(t, func(c *Conn) { c.socket.Close() })
	ours := sleeps(t, (*Conn).Close)
	// With a single processor a grace period is over at once.
	if t.Logf("a plain close sleeps %d times", plain); ours > 0 {
		t.Errorf("a close sleeps %d times, a plain one %d times", ours, plain)
	}
	for began := time.Now(); open(t) > 0; time.Sleep(time.Millisecond) {
		if time.Since(began) > time.Minute {
			t.Fatalf("%d sockets are left open", open(t))
		}
	}
}

// TestCloseWithoutDescriptors: a process that can open no more files closes in
// the plain way.
func TestCloseWithoutDescriptors(t *testing.T) {
	kerneltest.New(t)
	c := changed(t)
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		t.Fatal(err)
	}
	if err := unix.Prlimit(0, unix.RLIMIT_NOFILE, &unix.Rlimit{Cur: 3, Max: limit.Max}, nil); err != nil {
		t.Fatal(err)
	}
	c.Close()
	if err := unix.Prlimit(0, unix.RLIMIT_NOFILE, &limit, nil); err != nil {
		t.Fatal(err)
	}
	if n := open(t); n != 0 {
		t.Errorf("%d sockets are open", n)
	}
}
