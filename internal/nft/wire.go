package nft

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// attr is one netlink attribute, encoded.
type attr []byte

func bytesAttr(kind uint16, data []byte) attr {
	a := make([]byte, 4, 4+len(data)+3)
	binary.NativeEndian.PutUint16(a, uint16(4+len(data)))
	binary.NativeEndian.PutUint16(a[2:], kind)
	a = append(a, data...)
	return append(a, make([]byte, -len(a)&3)...)
}

func stringAttr(kind uint16, s string) attr { return bytesAttr(kind, append([]byte(s), 0)) }

func u32Attr(kind uint16, n uint32) attr {
	return bytesAttr(kind, binary.BigEndian.AppendUint32(nil, n))
}

func nest(kind uint16, inner ...attr) attr {
	var b []byte
	for _, a := range inner {
		b = append(b, a...)
	}
	return bytesAttr(kind|unix.NLA_F_NESTED, b)
}

// attrs walks encoded attributes. Torn ones end the walk.
func attrs(b []byte) func(yield func(uint16, []byte) bool) {
	return func(yield func(uint16, []byte) bool) {
		for len(b) >= 4 {
			n := int(binary.NativeEndian.Uint16(b))
			if n < 4 || n > len(b) {
				return
			}
			if !yield(binary.NativeEndian.Uint16(b[2:])&^(unix.NLA_F_NESTED|unix.NLA_F_NET_BYTEORDER), b[4:n]) {
				return
			}
			b = b[min(len(b), (n+3)&^3):]
		}
	}
}

// message is one nf_tables message of a batch, or one question.
type message struct {
	kind   uint16 // NFT_MSG_*
	flags  uint16
	family uint8
	body   []attr
}

func (m message) encode(kind uint16, flags uint16, seq uint32, resource uint16) []byte {
	b := make([]byte, 20)
	binary.NativeEndian.PutUint16(b[4:], kind)
	binary.NativeEndian.PutUint16(b[6:], unix.NLM_F_REQUEST|flags)
	binary.NativeEndian.PutUint32(b[8:], seq)
	b[16], b[17] = m.family, unix.NFNETLINK_V0
	binary.BigEndian.PutUint16(b[18:], resource)
	for _, a := range m.body {
		b = append(b, a...)
	}
	binary.NativeEndian.PutUint32(b, uint32(len(b)))
	return b
}

func nftKind(kind uint16) uint16 { return unix.NFNL_SUBSYS_NFTABLES<<8 | kind }

// conn is a netfilter netlink socket in the host's namespace.
type conn struct{ fd int }

// patience bounds the wait for the kernel's answer to one batch. It holds a
// mutex that other programs' batches hold too.
const patience = 30 * time.Second

func dial() (*conn, error) {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.NETLINK_NETFILTER)
	if err != nil {
		return nil, missing(fmt.Errorf("netfilter socket: %w", err))
	}
	c := &conn{fd}
	timeout := unix.NsecToTimeval(int64(patience))
	err = errors.Join(
		unix.SetsockoptInt(fd, unix.SOL_NETLINK, unix.NETLINK_CAP_ACK, 1),
		unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &timeout),
	)
	if err != nil {
		c.close()
		return nil, fmt.Errorf("netfilter socket: %w", err)
	}
	return c, nil
}

func (c *conn) close() { _ = unix.Close(c.fd) }

// missing says what a kernel without nf_tables lacks.
func missing(err error) error {
	if errors.Is(err, unix.EPROTONOSUPPORT) || errors.Is(err, unix.EAFNOSUPPORT) {
		return fmt.Errorf("the kernel lacks nftables (CONFIG_NF_TABLES, CONFIG_NF_TABLES_INET): %w", err)
	}
	return err
}

// batchError is the kernel's answer to the message of a batch at Index, or to
// the whole of it where Index is -1.
type batchError struct {
	index int
	err   error
}

func (e batchError) Error() string { return e.err.Error() }
func (e batchError) Unwrap() error { return e.err }

// commit sends a batch. All of it comes true or nothing does. A generation that
// is not 0 makes the kernel refuse the batch (ERESTART) where anybody changed
// the ruleset since.
func (c *conn) commit(batch []message, generation uint32) error {
	return c.send(batch, generation, true)
}

// rehearse sends a batch without its end. The kernel looks at every message
// and then forgets them all.
func (c *conn) rehearse(batch []message) error { return c.send(batch, 0, false) }

func (c *conn) send(batch []message, generation uint32, end bool) error {
	begin := message{}
	if generation != 0 {
		begin.body = []attr{u32Attr(unix.NFNL_BATCH_GENID, generation)}
	}
	b := begin.encode(unix.NFNL_MSG_BATCH_BEGIN, 0, 0, unix.NFNL_SUBSYS_NFTABLES)
	for i, m := range batch {
		flags := m.flags
		if i == len(batch)-1 {
			flags |= unix.NLM_F_ACK // one answer is enough where all is well
		}
		b = append(b, m.encode(nftKind(m.kind), flags, uint32(i+1), 0)...)
	}
	last := uint32(len(batch))
	if end {
		b = append(b, message{}.encode(unix.NFNL_MSG_BATCH_END, 0, last+1, unix.NFNL_SUBSYS_NFTABLES)...)
	}
	if err := c.write(b); err != nil {
		return err
	}
	return c.answers(last)
}

func (c *conn) write(b []byte) error {
	if len(b) > 100<<10 {
		// The default send buffer is smaller than a batch of a thousand ports.
		_ = unix.SetsockoptInt(c.fd, unix.SOL_SOCKET, unix.SO_SNDBUFFORCE, 2*len(b)+64<<10)
	}
	if err := unix.Sendto(c.fd, b, 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		return fmt.Errorf("send to nftables: %w", err)
	}
	return nil
}

// answers reads until the last message is answered and gives the first error.
func (c *conn) answers(last uint32) error {
	var first error
	for {
		replies, err := c.read()
		if err != nil {
			return err
		}
		for _, r := range replies {
			if r.kind != unix.NLMSG_ERROR || len(r.body) < 4 {
				continue
			}
			errno := -int32(binary.NativeEndian.Uint32(r.body))
			if errno != 0 && first == nil {
				first = batchError{int(r.seq) - 1, answer(unix.Errno(errno))}
			}
			if r.seq == last || r.seq == 0 {
				return first
			}
		}
	}
}

func answer(errno unix.Errno) error {
	switch errno {
	case unix.EOPNOTSUPP:
		return fmt.Errorf("this kernel's nftables lacks a feature that is needed: %w", errno)
	case unix.EPERM:
		return fmt.Errorf("changing nftables needs CAP_NET_ADMIN: %w", errno)
	}
	return errno
}

type reply struct {
	kind uint16
	seq  uint32
	body []byte
}

func (c *conn) read() ([]reply, error) {
	b := make([]byte, 64<<10)
	n, _, err := unix.Recvfrom(c.fd, b, 0)
	switch {
	case errors.Is(err, unix.EAGAIN):
		return nil, fmt.Errorf("nftables did not answer within %v: %w", patience, os.ErrDeadlineExceeded)
	case err != nil:
		return nil, fmt.Errorf("read nftables' answer: %w", err)
	}
	var out []reply
	for b = b[:n]; len(b) >= 16; {
		size := int(binary.NativeEndian.Uint32(b))
		if size < 16 || size > len(b) {
			break
		}
		out = append(out, reply{binary.NativeEndian.Uint16(b[4:]), binary.NativeEndian.Uint32(b[8:]), b[16:size]})
		b = b[min(len(b), (size+3)&^3):]
	}
	return out, nil
}

// ask sends one question and gives the bodies of the answers, without the
// nfgenmsg header.
func (c *conn) ask(m message) ([][]byte, error) {
	const seq = 1
	if err := c.write(m.encode(nftKind(m.kind), m.flags|unix.NLM_F_ACK, seq, 0)); err != nil {
		return nil, err
	}
	var out [][]byte
	for {
		replies, err := c.read()
		if err != nil {
			return nil, err
		}
		for _, r := range replies {
			switch {
			case r.seq != seq:
			case r.kind == unix.NLMSG_DONE:
				return out, nil
			case r.kind == unix.NLMSG_ERROR && len(r.body) >= 4:
				if errno := -int32(binary.NativeEndian.Uint32(r.body)); errno != 0 {
					return nil, answer(unix.Errno(errno))
				}
				return out, nil
			case len(r.body) >= 4:
				out = append(out, append([]byte(nil), r.body[4:]...))
			}
		}
	}
}

// generation is the number that the kernel counts up at every change of the
// namespace's ruleset.
func (c *conn) generation() (uint32, error) {
	answers, err := c.ask(message{kind: unix.NFT_MSG_GETGEN})
	if err != nil {
		return 0, fmt.Errorf("nftables' generation: %w", err)
	}
	for _, a := range answers {
		for kind, data := range attrs(a) {
			if kind == unix.NFTA_GEN_ID && len(data) == 4 {
				return binary.BigEndian.Uint32(data), nil
			}
		}
	}
	return 0, errors.New("nftables' generation: the kernel did not say")
}
