// Package wire speaks nf_tables: batches of messages that come true as a whole,
// and questions for one thing by its name.
//
// The socket and the attributes are vishvananda/netlink/nl's. The messages are
// ours: google/nftables 0.3 cannot create an element exclusively, ask for one
// element, hold a batch to a generation of the ruleset, or say which message of a
// batch was refused. What a host port costs, and who holds it, hang on these.
package wire

import (
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"slices"
	"syscall"
	"time"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"

	"github.com/catena-cni/catena/internal/kernel"
	"github.com/catena-cni/catena/internal/retry"
)

// Message is one message of a batch, or one question.
type Message struct {
	Type   uint16 // the subsystem, and the kind of message in it
	Flags  uint16
	Family uint8
	Body   []Attr

	resource uint16
}

// Conn is a netfilter socket. It belongs to the network namespace that the
// calling thread was in when it was opened, and is for one goroutine.
type Conn struct {
	socket *nl.NetlinkSocket
	seq    uint32 // of the message that was sent last
}

// patience bounds the wait for one answer. The kernel holds locks that all its
// users share; longer than this no runtime waits for a plugin.
const patience = 30 * time.Second

// Dial opens a socket.
func Dial() (*Conn, error) {
	s, err := nl.Subscribe(unix.NETLINK_NETFILTER)
	if err != nil {
		return nil, Missing(fmt.Errorf("netlink socket: %w", err))
	}
	limit := unix.NsecToTimeval(int64(patience))
	err = errors.Join(
		s.SetExtAck(true), s.SetReceiveTimeout(&limit), s.SetSendTimeout(&limit),
		unix.SetsockoptInt(s.GetFd(), unix.SOL_NETLINK, unix.NETLINK_CAP_ACK, 1),
	)
	if err != nil {
		s.Close()
		return nil, fmt.Errorf("netlink socket: %w", err)
	}
	return &Conn{socket: s}, nil
}

// Missing says what a kernel without nf_tables lacks.
func Missing(err error) error {
	if errors.Is(err, unix.EPROTONOSUPPORT) || errors.Is(err, unix.EAFNOSUPPORT) {
		return fmt.Errorf("the kernel lacks nftables (CONFIG_NF_TABLES, CONFIG_NF_TABLES_INET): %w", err)
	}
	return err
}

// encode appends the message with its headers: nlmsghdr and nfgenmsg.
func (m Message) encode(b []byte, seq uint32) []byte {
	body := slices.Concat(m.Body...)
	b = binary.NativeEndian.AppendUint32(b, uint32(unix.SizeofNlMsghdr+nl.SizeofNfgenmsg+len(body)))
	b = binary.NativeEndian.AppendUint16(b, m.Type)
	b = binary.NativeEndian.AppendUint16(b, m.Flags|unix.NLM_F_REQUEST)
	b = binary.NativeEndian.AppendUint32(b, seq)
	b = append(b, 0, 0, 0, 0, m.Family, unix.NFNETLINK_V0)
	return append(binary.BigEndian.AppendUint16(b, m.resource), body...)
}

// send sends encoded messages at once: nl sends one request at a time.
func (c *Conn) send(b []byte) error {
	if len(b) > 16<<10 {
		// The default buffers are smaller than a batch of a thousand ports, and
		// than as many refusals of it, which take some 1 KiB each.
		_ = unix.SetsockoptInt(c.socket.GetFd(), unix.SOL_SOCKET, unix.SO_SNDBUFFORCE, 2*len(b)+64<<10)
		_ = c.socket.SetReceiveBufferSize(16*len(b), true)
	}
	err := retry.Do(func() error {
		return unix.Sendto(c.socket.GetFd(), b, 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK})
	})
	if err != nil {
		return fmt.Errorf("nftables: %w", err)
	}
	return nil
}

// receive reads what the kernel sent at once, and gives each message to read
// until one is the last.
func (c *Conn) receive(read func(m syscall.NetlinkMessage) (last bool)) error {
	for {
		var from *unix.SockaddrNetlink
		messages, err := retry.Call(func() (m []syscall.NetlinkMessage, err error) {
			m, from, err = c.socket.Receive()
			return m, err
		})
		if errors.Is(err, unix.EAGAIN) {
			err = fmt.Errorf("no answer: %w", os.ErrDeadlineExceeded)
		}
		if err != nil {
			return fmt.Errorf("nftables: %w", err)
		}
		if from.Pid != 0 {
			continue // only the kernel is listened to
		}
		for _, m := range messages {
			if read(m) {
				return nil
			}
		}
	}
}

// refusal is what an acknowledgement, or the end of a list, says: nil, or an
// errno with the kernel's words.
func refusal(m syscall.NetlinkMessage) error {
	if m.Header.Type != unix.NLMSG_ERROR && m.Header.Type != unix.NLMSG_DONE || len(m.Data) < 4 {
		return nil
	}
	errno := unix.Errno(-int32(binary.NativeEndian.Uint32(m.Data)))
	if errno == 0 {
		return nil
	}
	err := error(errno)
	const header = 4 + unix.SizeofNlMsghdr // the errno and the request's header
	if m.Header.Flags&unix.NLM_F_ACK_TLVS != 0 && len(m.Data) > header {
		if words := Text(Find(m.Data[header:], unix.NLMSGERR_ATTR_MSG)); words != "" {
			err = fmt.Errorf("%s: %w", words, errno)
		}
	}
	switch errno {
	case unix.EOPNOTSUPP:
		return fmt.Errorf("this kernel's netfilter lacks a feature that is needed: %w", err)
	case unix.EPERM:
		return fmt.Errorf("netfilter needs CAP_NET_ADMIN: %w", err)
	}
	return err
}

// Refused is the kernel's answer to the message of a batch at Index, or to the
// whole of it where Index is less than 0.
type Refused struct {
	Index int
	Err   error
}

func (e Refused) Error() string { return e.Err.Error() }
func (e Refused) Unwrap() error { return e.Err }

// Commit sends a batch. All of it comes true or nothing does. A generation that
// is not 0 makes the kernel refuse the batch (ERESTART) where anybody changed
// the ruleset since.
func (c *Conn) Commit(batch []Message, generation uint32) error {
	return c.batch(batch, generation, true)
}

// Rehearse sends a batch without its end. The kernel looks at every message
// and then forgets them all.
func (c *Conn) Rehearse(batch []Message) error { return c.batch(batch, 0, false) }

// batch sends messages. One answer, to the last, is enough where all is well; the
// kernel answers to the batch as a whole under the number of its beginning. Answers
// to what was sent before, which nobody has read, are passed over.
func (c *Conn) batch(batch []Message, generation uint32, end bool) error {
	edge := Message{Type: unix.NFNL_MSG_BATCH_BEGIN, resource: unix.NFNL_SUBSYS_NFTABLES}
	if generation != 0 {
		edge.Body = []Attr{U32(unix.NFNL_BATCH_GENID, generation)}
	}
	c.seq++
	begin := c.seq
	b := edge.encode(nil, begin)
	for i, m := range batch {
		if i == len(batch)-1 {
			m.Flags |= unix.NLM_F_ACK
		}
		c.seq++
		b = m.encode(b, c.seq)
	}
	last := c.seq
	if end {
		c.seq++
		b = Message{Type: unix.NFNL_MSG_BATCH_END, resource: unix.NFNL_SUBSYS_NFTABLES}.encode(b, c.seq)
	}
	if err := c.send(b); err != nil {
		return err
	}
	var refused error
	err := c.receive(func(m syscall.NetlinkMessage) bool {
		if m.Header.Seq < begin || m.Header.Seq > last {
			return false
		}
		if err := refusal(m); err != nil && refused == nil {
			refused = Refused{int(m.Header.Seq) - int(begin) - 1, err}
		}
		return m.Header.Seq == last || m.Header.Seq == begin
	})
	return errors.Join(err, refused)
}

// Ask sends one question and gives the bodies of the answers, which are several
// for a list (unix.NLM_F_DUMP). One that changed while it was read is asked for
// again.
func (c *Conn) Ask(m Message) ([][]byte, error) {
	return kernel.List(func() ([][]byte, error) { return c.ask(m) })
}

func (c *Conn) ask(question Message) (bodies [][]byte, err error) {
	c.seq++
	if err := c.send(question.encode(nil, c.seq)); err != nil {
		return nil, err
	}
	var refused, interrupted error
	err = c.receive(func(m syscall.NetlinkMessage) (last bool) {
		if m.Header.Seq != c.seq {
			return false
		}
		if m.Header.Flags&unix.NLM_F_DUMP_INTR != 0 {
			interrupted = netlink.ErrDumpInterrupted
		}
		if m.Header.Type == unix.NLMSG_DONE || m.Header.Type == unix.NLMSG_ERROR {
			refused = refusal(m)
			return true
		}
		bodies = append(bodies, m.Data[min(nl.SizeofNfgenmsg, len(m.Data)):])
		return m.Header.Flags&unix.NLM_F_MULTI == 0
	})
	return bodies, cmp.Or(err, interrupted, refused)
}

// Generation is the number that the kernel counts up at every change of the
// namespace's ruleset.
func (c *Conn) Generation() (uint32, error) {
	answers, err := c.Ask(Table{}.Message(unix.NFT_MSG_GETGEN, 0))
	if err != nil {
		return 0, fmt.Errorf("nftables' generation: %w", err)
	}
	if len(answers) == 0 {
		return 0, errors.New("nftables' generation: the kernel did not say")
	}
	return Uint32(Find(answers[0], unix.NFTA_GEN_ID)), nil
}

// tries bounds how often somebody else may come in between.
const tries = 100

// Change looks and then sends the messages that follow from it, all or none. Where
// somebody changed the ruleset in between, it looks again.
func (c *Conn) Change(look func() ([]Message, error)) error {
	for range tries {
		generation, err := c.Generation()
		if err != nil {
			return err
		}
		batch, err := look()
		if err != nil || len(batch) == 0 {
			return err
		}
		err = c.Commit(batch, generation)
		if !errors.Is(err, unix.ERESTART) && !errors.Is(err, unix.ENOENT) {
			return err
		}
	}
	return fmt.Errorf("the ruleset changed %d times while it was to be changed", tries)
}
