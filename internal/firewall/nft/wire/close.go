package wire

import (
	"fmt"

	"golang.org/x/sys/unix"

	"github.com/catena-cni/catena/internal/retry"
)

// Close closes the socket, if possible without waiting for it.
//
// Whoever closes a netfilter socket waits until nf_tables has freed what was
// deleted before, by anybody in the network namespace (nft_rcv_nl_event of the
// kernel's nf_tables_api.c): a grace period of RCU, some ten milliseconds, with
// the commit lock held, though what was acknowledged is long true. A chain's DEL
// took 56 ms with plain closes and takes 25 without; a hundred at a time took
// 68 ms each and take 40. What else was weighed: one socket for all deletions of
// a plugin is still one close for each plugin of the chain, and a child that
// closes is a process that outlives its plugin.
//
// So the last reference is left to the kernel: in a datagram that is in a socket
// that nobody has any more but that same datagram. The collector of such sockets
// (net/unix/garbage.c) has a thread of its own since Linux 6.9. On older kernels
// it runs in whoever closes a Unix socket next, so there the close is a plain one.
func (c *Conn) Close() {
	defer c.socket.Close()
	if !collects() {
		return
	}
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return
	}
	// Where this is refused, all are closed in the usual way.
	_ = retry.Do(func() error {
		return unix.Sendmsg(pair[0], []byte{0}, unix.UnixRights(c.socket.GetFd(), pair[1]), nil, 0)
	})
	_ = unix.Close(pair[1])
	c.socket.Close()
	_ = unix.Close(pair[0]) // that calls the collector, so it comes last
}

// collects reports whether the kernel's collector has a thread of its own.
func collects() bool {
	var u unix.Utsname
	var major, minor int
	if unix.Uname(&u) != nil {
		return false
	}
	if n, _ := fmt.Sscanf(unix.ByteSliceToString(u.Release[:]), "%d.%d", &major, &minor); n != 2 {
		return false
	}
	return major > 6 || major == 6 && minor >= 9
}
