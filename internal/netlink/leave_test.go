package netlink_test

import (
	"encoding/binary"
	"math"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/catena-cni/catena/internal/kerneltest"
	"github.com/catena-cni/catena/internal/netlink"
)

// change sends batches that make a table and delete it again, over any socket.
func change(t *testing.T, send func([]byte) error, answered func() (int, error)) {
	t.Helper()
	inet, edge := []byte{unix.NFPROTO_INET, 0, 0, 0}, binary.BigEndian.AppendUint16([]byte{0, 0}, unix.NFNL_SUBSYS_NFTABLES)
	name := netlink.String(unix.NFTA_TABLE_NAME, "t")
	for i, kind := range []uint16{unix.NFT_MSG_NEWTABLE, unix.NFT_MSG_DELTABLE} {
		flags := []uint16{unix.NLM_F_CREATE, 0}[i]
		b := netlink.Message{Type: unix.NFNL_MSG_BATCH_BEGIN, Body: edge}.Encode(nil, 1)
		b = netlink.Message{Type: unix.NFNL_SUBSYS_NFTABLES<<8 | kind, Flags: flags | unix.NLM_F_ACK, Body: append(slices.Clone(inet), name...)}.Encode(b, 2)
		b = netlink.Message{Type: unix.NFNL_MSG_BATCH_END, Body: edge}.Encode(b, 3)
		if err := send(b); err != nil {
			t.Fatal(err)
		}
		if errno, err := answered(); err != nil || errno != 0 {
			t.Fatalf("message %d: errno %d, %v", kind, -errno, err)
		}
	}
}

// changeBy is change over a Conn.
func changeBy(t *testing.T, c *netlink.Conn) {
	t.Helper()
	change(t, c.Send, func() (int, error) {
		replies, err := c.Receive()
		if err != nil {
			return 0, err
		}
		return int(int32(netlink.Uint32(replies[0].Body))), nil
	})
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

// allClosed waits until the kernel has closed what was left to it.
func allClosed(t *testing.T) {
	t.Helper()
	for began := time.Now(); open(t) > 0; time.Sleep(time.Millisecond) {
		if time.Since(began) > time.Minute {
			t.Fatalf("%d sockets are left open", open(t))
		}
	}
}

// sleeps is how often the thread sleeps meanwhile, in the best of some rounds.
func sleeps(t *testing.T, do func() (last func())) int64 {
	t.Helper()
	slept := func() int64 {
		var usage unix.Rusage
		if err := unix.Getrusage(unix.RUSAGE_THREAD, &usage); err != nil {
			t.Fatal(err)
		}
		return usage.Nvcsw
	}
	least := int64(math.MaxInt64)
	for range 15 {
		last := do()
		before := slept()
		last()
		least = min(least, slept()-before)
	}
	return least
}

// TestCloseWaitsForNobody: after a deletion in nftables a plain close of a socket
// sleeps, ours does not, and soon the kernel has none left.
func TestCloseWaitsForNobody(t *testing.T) {
	kerneltest.New(t)
	plain := sleeps(t, func() func() {
		fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.NETLINK_NETFILTER)
		if err != nil {
			t.Fatal(err)
		}
		answer := make([]byte, 4096)
		change(t, func(b []byte) error { return unix.Sendto(fd, b, 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}) }, func() (int, error) {
			_, _, err := unix.Recvfrom(fd, answer, 0)
			return int(int32(netlink.Uint32(answer[unix.NLMSG_HDRLEN:]))), err
		})
		return func() { unix.Close(fd) }
	})
	ours := sleeps(t, func() func() {
		c, err := netlink.Dial(unix.NETLINK_NETFILTER)
		if err != nil {
			t.Fatal(err)
		}
		changeBy(t, c)
		return c.Close
	})
	// With a single processor a grace period is over at once.
	if t.Logf("a plain close sleeps %d times", plain); ours > 0 {
		t.Errorf("a close sleeps %d times, a plain one %d times", ours, plain)
	}
	began := time.Now()
	left := open(t)
	allClosed(t)
	t.Logf("%d sockets were closed after %v", left, time.Since(began))
}

// TestCloseWithoutDescriptors: a process that can open no more files closes in
// the plain way.
func TestCloseWithoutDescriptors(t *testing.T) {
	kerneltest.New(t)
	c, err := netlink.Dial(unix.NETLINK_NETFILTER)
	if err != nil {
		t.Fatal(err)
	}
	changeBy(t, c)
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
