package netlink

import (
	"golang.org/x/sys/unix"

	"github.com/catena-cni/catena/internal/retry"
)

// leave closes a netfilter socket without waiting for it.
//
// Whoever closes one waits until nf_tables has freed what was deleted before, by
// anybody in the network namespace (nft_rcv_nl_event of the kernel's
// nf_tables_api.c): that is a grace period of RCU, some ten milliseconds, though
// what was acknowledged is long true. So the last reference is left to the
// kernel: in a datagram that is in a socket that nobody has any more but that
// same datagram. The collector of such sockets (net/unix/garbage.c) runs on a
// thread of the kernel's since Linux 6.9, and in the stable kernels before. On
// others it runs here, which costs what closing costs.
func leave(fd int) {
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err == nil {
		// Where this is refused, both are closed in the usual way.
		_ = retry.Do(func() error { return unix.Sendmsg(pair[0], []byte{0}, unix.UnixRights(fd, pair[1]), nil, 0) })
		_ = unix.Close(pair[1])
		// The close of a Unix socket calls the collector, so it comes last.
		defer func() { _ = unix.Close(pair[0]) }()
	}
	_ = unix.Close(fd)
}
