package client

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/catena-cni/catena/internal/kernel"
	"github.com/catena-cni/catena/internal/retry"
)

// socket is one that a reader leaves when its time is over or its context ends.
// It belongs to a network namespace, and is closed with the exchange it was
// opened for: one that stays open keeps a pod's namespace from going.
type socket struct {
	file *os.File
	raw  syscall.RawConn
	read []byte
}

// messageMax is what is read of a packet: what fits into an Ethernet frame, and
// more than is offered to a server (option 57).
const messageMax = 9216

// openSocket opens a socket on a side, and has it set up there.
func openSocket(k *kernel.Kernel, side kernel.Side, domain, kind, protocol int, setUp func(fd int) error) (*socket, error) {
	fd := -1
	err := k.Do(side, func() (err error) {
		fd, err = unix.Socket(domain, kind|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, protocol)
		if err != nil {
			return err
		}
		return setUp(fd)
	})
	if err != nil {
		if fd >= 0 {
			unix.Close(fd)
		}
		return nil, fmt.Errorf("open a socket on the %v's side: %w", side, err)
	}
	s := &socket{file: os.NewFile(uintptr(fd), "socket"), read: make([]byte, messageMax)}
	if s.raw, err = s.file.SyscallConn(); err != nil {
		s.close()
		return nil, err
	}
	return s, nil
}

func (s *socket) close() { _ = s.file.Close() }

// receive gives the next packet, until the time is over, which is
// os.ErrDeadlineExceeded, or the context ends. It stays valid until the next.
func (s *socket) receive(ctx context.Context, until time.Time) (b []byte, from unix.Sockaddr, err error) {
	if err := s.file.SetReadDeadline(until); err != nil {
		return nil, nil, err
	}
	stop := context.AfterFunc(ctx, func() { _ = s.file.SetReadDeadline(time.Unix(1, 0)) })
	defer stop()
	if ctx.Err() != nil {
		return nil, nil, context.Cause(ctx)
	}
	var n int
	rerr := s.raw.Read(func(fd uintptr) bool {
		// The poller is told of a packet once: what is here is not waited for again.
		n, err = retry.Call(func() (n int, err error) {
			n, from, err = unix.Recvfrom(int(fd), s.read, 0)
			return n, err
		})
		return !errors.Is(err, unix.EAGAIN)
	})
	switch {
	case ctx.Err() != nil:
		return nil, nil, context.Cause(ctx)
	case rerr != nil:
		return nil, nil, rerr
	case err != nil:
		return nil, nil, fmt.Errorf("receive: %w", err)
	}
	return s.read[:n], from, nil
}

// send sends one packet. A queue that is full loses it, as a network may.
func (s *socket) send(b []byte, control []byte, to unix.Sockaddr) (err error) {
	cerr := s.raw.Control(func(fd uintptr) {
		err = retry.Do(func() error { return unix.Sendmsg(int(fd), b, control, to, 0) })
	})
	if errors.Is(err, unix.EAGAIN) || errors.Is(err, unix.ENOBUFS) {
		err = nil
	}
	return errors.Join(cerr, err)
}

// broadcastMAC is Ethernet's address of everybody.
var broadcastMAC = net.HardwareAddr{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}

// htons turns a number for those places where the kernel wants network byte
// order in a field of its own.
func htons(n uint16) uint16 { return n<<8 | n>>8 }

// openLink opens a socket for the packets of one protocol (unix.ETH_P_*) on a
// link, with the Ethernet headers left to the kernel. Those that the filter
// drops are not seen.
func openLink(k *kernel.Kernel, side kernel.Side, l *kernel.Link, protocol uint16, filter []unix.SockFilter) (*socket, error) {
	// Until it is bound it would receive from every link: it asks for nothing first.
	return openSocket(k, side, unix.AF_PACKET, unix.SOCK_DGRAM, 0, func(fd int) error {
		if len(filter) > 0 {
			program := unix.SockFprog{Len: uint16(len(filter)), Filter: &filter[0]}
			if err := unix.SetsockoptSockFprog(fd, unix.SOL_SOCKET, unix.SO_ATTACH_FILTER, &program); err != nil {
				return fmt.Errorf("attach a filter: %w", err)
			}
		}
		return unix.Bind(fd, &unix.SockaddrLinklayer{Protocol: htons(protocol), Ifindex: l.Index})
	})
}

// linkAddress is where a packet goes on a link.
func linkAddress(l *kernel.Link, protocol uint16, to net.HardwareAddr) *unix.SockaddrLinklayer {
	a := &unix.SockaddrLinklayer{Protocol: htons(protocol), Ifindex: l.Index, Halen: uint8(len(to))}
	copy(a.Addr[:], to)
	return a
}

// senderOf is the hardware address that a packet came from.
func senderOf(from unix.Sockaddr) net.HardwareAddr {
	a, ok := from.(*unix.SockaddrLinklayer)
	if !ok || a.Halen != 6 {
		return nil
	}
	return append(net.HardwareAddr(nil), a.Addr[:6]...)
}

// toClient lets IPv4 packets through that are whole UDP datagrams to the
// client's port: what else a busy segment has is not read at all.
var toClient = []unix.SockFilter{
	{Code: unix.BPF_LD | unix.BPF_B | unix.BPF_ABS, K: 9}, // protocol
	{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: unix.IPPROTO_UDP, Jf: 6},
	{Code: unix.BPF_LD | unix.BPF_H | unix.BPF_ABS, K: 6}, // fragment offset
	{Code: unix.BPF_JMP | unix.BPF_JSET | unix.BPF_K, K: 0x1fff, Jt: 4},
	{Code: unix.BPF_LDX | unix.BPF_B | unix.BPF_MSH, K: 0},
	{Code: unix.BPF_LD | unix.BPF_H | unix.BPF_IND, K: 2}, // destination port
	{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: clientPort4, Jf: 1},
	{Code: unix.BPF_RET | unix.BPF_K, K: messageMax},
	{Code: unix.BPF_RET | unix.BPF_K, K: 0},
}
