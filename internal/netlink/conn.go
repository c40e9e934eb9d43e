package netlink

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"github.com/catena-cni/catena/internal/retry"
)

// Conn is a netlink socket. It belongs to the network namespace that the
// calling thread was in when it was opened, and is for one goroutine.
type Conn struct {
	fd     int
	family int
	seq    uint32
	read   []byte
}

// patience bounds the wait for one answer. The kernel holds locks that all its
// users share; longer than this no runtime waits for a plugin.
const patience = 30 * time.Second

// Dial opens a socket of a netlink family (unix.NETLINK_*) that also receives
// the events of the groups.
func Dial(family int, groups ...int) (*Conn, error) {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, family)
	if err != nil {
		return nil, fmt.Errorf("netlink socket: %w", err)
	}
	c := &Conn{fd: fd, family: family}
	err = errors.Join(
		unix.SetsockoptInt(fd, unix.SOL_NETLINK, unix.NETLINK_CAP_ACK, 1),
		unix.SetsockoptInt(fd, unix.SOL_NETLINK, unix.NETLINK_EXT_ACK, 1),
		c.timeout(patience),
	)
	if len(groups) > 0 {
		// An event is not sent to a socket that has no address of its own.
		err = errors.Join(err, unix.Bind(fd, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}))
	}
	for _, g := range groups {
		err = errors.Join(err, unix.SetsockoptInt(fd, unix.SOL_NETLINK, unix.NETLINK_ADD_MEMBERSHIP, g))
	}
	if err != nil {
		c.Close()
		return nil, fmt.Errorf("netlink socket: %w", err)
	}
	return c, nil
}

// Close closes the socket.
func (c *Conn) Close() {
	if c.family == unix.NETLINK_NETFILTER {
		leave(c.fd)
		return
	}
	_ = unix.Close(c.fd)
}

func (c *Conn) timeout(d time.Duration) error {
	t := unix.NsecToTimeval(int64(d))
	return unix.SetsockoptTimeval(c.fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &t)
}

// NetnsCookie is the number of the socket's network namespace, which no other
// has until the next boot. Kernels before 5.14 do not say it: then it is 0.
func (c *Conn) NetnsCookie() uint64 {
	cookie, err := unix.GetsockoptUint64(c.fd, unix.SOL_SOCKET, unix.SO_NETNS_COOKIE)
	if err != nil {
		return 0
	}
	return cookie
}

// Message is one message, without its header.
type Message struct {
	Type  uint16
	Flags uint16 // unix.NLM_F_*; NLM_F_REQUEST is added
	Body  []byte
}

// Encode appends the message with its header.
func (m Message) Encode(b []byte, seq uint32) []byte {
	h := make([]byte, unix.NLMSG_HDRLEN)
	binary.NativeEndian.PutUint32(h, uint32(len(h)+len(m.Body)))
	binary.NativeEndian.PutUint16(h[4:], m.Type)
	binary.NativeEndian.PutUint16(h[6:], m.Flags|unix.NLM_F_REQUEST)
	binary.NativeEndian.PutUint32(h[8:], seq)
	b = append(append(b, h...), m.Body...)
	return append(b, make([]byte, -len(b)&3)...)
}

// Reply is one message that the kernel sent.
type Reply struct {
	Type, Flags uint16
	Seq         uint32
	Body        []byte
}

// Send sends encoded messages. What a signal interrupts has not been sent.
func (c *Conn) Send(b []byte) error {
	if len(b) > 16<<10 {
		// The default buffers are smaller than a batch of a thousand ports, and
		// than as many refusals of it, which take some 1 KiB each.
		_ = unix.SetsockoptInt(c.fd, unix.SOL_SOCKET, unix.SO_SNDBUFFORCE, 2*len(b)+64<<10)
		_ = unix.SetsockoptInt(c.fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, 16*len(b))
	}
	err := retry.Do(func() error { return unix.Sendto(c.fd, b, 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}) })
	if err != nil {
		return fmt.Errorf("netlink: %w", err)
	}
	return nil
}

// receiveSize takes the largest datagram that the kernel makes for a dump.
const receiveSize = 64 << 10

// Receive reads what the kernel sent at once. It stays valid until the next
// Receive. A wait that has an end is not taken up again by the kernel after a
// signal (signal(7), SO_RCVTIMEO).
func (c *Conn) Receive() ([]Reply, error) {
	for {
		replies, err := c.receive()
		if !errors.Is(err, unix.EINTR) {
			return replies, err
		}
	}
}

// receive is Receive, once.
func (c *Conn) receive() ([]Reply, error) {
	if c.read == nil {
		c.read = make([]byte, receiveSize)
	}
	b := c.read
	n, from, err := unix.Recvfrom(c.fd, b, 0)
	switch {
	case errors.Is(err, unix.EAGAIN):
		return nil, fmt.Errorf("netlink: no answer: %w", os.ErrDeadlineExceeded)
	case err != nil:
		return nil, fmt.Errorf("netlink: %w", err)
	}
	if a, ok := from.(*unix.SockaddrNetlink); !ok || a.Pid != 0 {
		return nil, nil // only the kernel is listened to
	}
	var out []Reply
	for b = b[:n]; len(b) >= unix.NLMSG_HDRLEN; {
		size := int(binary.NativeEndian.Uint32(b))
		if size < unix.NLMSG_HDRLEN || size > len(b) {
			break
		}
		out = append(out, Reply{
			Type: binary.NativeEndian.Uint16(b[4:]), Flags: binary.NativeEndian.Uint16(b[6:]),
			Seq: binary.NativeEndian.Uint32(b[8:]), Body: b[unix.NLMSG_HDRLEN:size],
		})
		b = b[min(len(b), (size+3)&^3):]
	}
	return out, nil
}

// Await reads events until there is one, or the time is over, which is
// os.ErrDeadlineExceeded. Events that were lost, and a signal, count as one:
// look again.
func (c *Conn) Await(d time.Duration) error {
	if err := c.timeout(max(d, time.Millisecond)); err != nil {
		return err
	}
	_, err := c.receive()
	if errors.Is(err, unix.ENOBUFS) || errors.Is(err, unix.EINTR) {
		return nil
	}
	return err
}

// Request sends a message and gives the bodies of the answers, once the kernel
// has acknowledged it. An error is the kernel's errno, with its own words where
// it has some.
func (c *Conn) Request(m Message) (answers [][]byte, err error) {
	m.Flags |= unix.NLM_F_ACK
	err = c.exchange(m, func(r Reply) (last bool, err error) {
		switch {
		case r.Flags&unix.NLM_F_DUMP_INTR != 0:
			return true, interrupted{}
		case r.Type == unix.NLMSG_DONE, r.Type == unix.NLMSG_ERROR:
			return true, r.Err()
		}
		answers = append(answers, bytes.Clone(r.Body))
		return false, nil
	})
	return answers, err
}

// Get asks for one thing, and gives the body of the answer. That is either the
// thing or an error, so no acknowledgement is asked for.
func (c *Conn) Get(m Message) (answer []byte, err error) {
	err = c.exchange(m, func(r Reply) (last bool, err error) {
		if r.Type == unix.NLMSG_ERROR {
			return true, r.Err()
		}
		answer = bytes.Clone(r.Body)
		return true, nil
	})
	return answer, err
}

// exchange sends a message and reads what the kernel has to say to it, up to the
// last of that.
func (c *Conn) exchange(m Message, read func(Reply) (last bool, err error)) error {
	c.seq++
	if err := c.Send(m.Encode(nil, c.seq)); err != nil {
		return err
	}
	for {
		replies, err := c.Receive()
		if err != nil {
			return err
		}
		for _, r := range replies {
			if r.Seq != c.seq {
				continue
			}
			if last, err := read(r); last {
				return err
			}
		}
	}
}

// interrupted: a list changed while it was read.
type interrupted struct{}

func (interrupted) Error() string { return "the list changed while it was read" }
func (interrupted) Unwrap() error { return unix.EINTR }

// Dump asks for a list, again where it changed while it was read.
func (c *Conn) Dump(m Message) (list [][]byte, err error) {
	m.Flags |= unix.NLM_F_DUMP
	for range 10 {
		if list, err = c.Request(m); !errors.Is(err, unix.EINTR) {
			break
		}
	}
	return list, err
}

// Err is what an acknowledgement, or the end of a list, says: nil, or an errno
// with the kernel's words.
func (r Reply) Err() error {
	if r.Type != unix.NLMSG_ERROR && r.Type != unix.NLMSG_DONE || len(r.Body) < 4 {
		return nil
	}
	errno := unix.Errno(-int32(binary.NativeEndian.Uint32(r.Body)))
	if errno == 0 {
		return nil
	}
	const header = 4 + unix.NLMSG_HDRLEN // the errno and the request's header
	if r.Flags&unix.NLM_F_ACK_TLVS != 0 && len(r.Body) > header {
		if words := Text(Find(r.Body[header:], unix.NLMSGERR_ATTR_MSG)); words != "" {
			return fmt.Errorf("%s: %w", words, errno)
		}
	}
	return errno
}
