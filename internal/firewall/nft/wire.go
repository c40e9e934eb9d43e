package nft

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"

	"golang.org/x/sys/unix"

	"github.com/catena-cni/catena/internal/netlink"
)

// attr is one netlink attribute. Numbers of nf_tables are in network byte order.
type attr = netlink.Attr

var (
	bytesAttr  = netlink.Bytes
	stringAttr = netlink.String
	u32Attr    = netlink.BE32
	nest       = netlink.Nest
	attrs      = netlink.Attrs
)

// message is one nf_tables message of a batch, or one question.
type message struct {
	kind   uint16 // NFT_MSG_*
	flags  uint16
	family uint8
	body   []attr
}

// header is struct nfgenmsg.
func header(family uint8, resource uint16) []byte {
	return binary.BigEndian.AppendUint16([]byte{family, unix.NFNETLINK_V0}, resource)
}

func (m message) wire() netlink.Message {
	return netlink.Message{
		Type: unix.NFNL_SUBSYS_NFTABLES<<8 | m.kind, Flags: m.flags, Body: append(header(m.family, 0), netlink.Join(m.body...)...),
	}
}

// conn is a netfilter socket in the host's namespace.
type conn struct {
	*netlink.Conn
	turn *turn
}

// Close closes it, and ends its turn.
func (c conn) Close() {
	c.turn.leave()
	c.Conn.Close()
}

func dial() (conn, error) {
	c, err := netlink.Dial(unix.NETLINK_NETFILTER)
	return conn{c, &turn{}}, missing(err)
}

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
func (c conn) commit(batch []message, generation uint32) error {
	return c.send(batch, generation, true)
}

// rehearse sends a batch without its end. The kernel looks at every message
// and then forgets them all.
func (c conn) rehearse(batch []message) error { return c.send(batch, 0, false) }

func (c conn) send(batch []message, generation uint32, end bool) error {
	edge := func(kind uint16, more ...attr) netlink.Message {
		return netlink.Message{Type: kind, Body: append(header(0, unix.NFNL_SUBSYS_NFTABLES), netlink.Join(more...)...)}
	}
	begin := edge(unix.NFNL_MSG_BATCH_BEGIN)
	if generation != 0 {
		begin = edge(unix.NFNL_MSG_BATCH_BEGIN, u32Attr(unix.NFNL_BATCH_GENID, generation))
	}
	b := begin.Encode(nil, 0)
	for i, m := range batch {
		w := m.wire()
		if i == len(batch)-1 {
			w.Flags |= unix.NLM_F_ACK // one answer is enough where all is well
		}
		b = w.Encode(b, uint32(i+1))
	}
	last := uint32(len(batch))
	if end {
		b = edge(unix.NFNL_MSG_BATCH_END).Encode(b, last+1)
	}
	if err := c.Send(b); err != nil {
		return err
	}
	return c.answers(last)
}

// answers reads until the last message is answered and gives the first error.
// The kernel answers to the batch as a whole under number 0.
func (c conn) answers(last uint32) error {
	var first error
	for {
		replies, err := c.Receive()
		if err != nil {
			return fmt.Errorf("nftables: %w", err)
		}
		for _, r := range replies {
			if err := r.Err(); err != nil && first == nil {
				first = batchError{int(r.Seq) - 1, answer(err)}
			}
			if r.Seq == last || r.Seq == 0 {
				return first
			}
		}
	}
}

func answer(err error) error {
	switch {
	case errors.Is(err, unix.EOPNOTSUPP):
		return fmt.Errorf("this kernel's nftables lacks a feature that is needed: %w", err)
	case errors.Is(err, unix.EPERM):
		return fmt.Errorf("changing nftables needs CAP_NET_ADMIN: %w", err)
	}
	return err
}

// ask sends one question and gives the bodies of the answers, without the
// nfgenmsg header.
func (c conn) ask(m message) ([][]byte, error) {
	ask := c.Request
	if m.flags&unix.NLM_F_DUMP != 0 {
		ask = c.Dump
	}
	answers, err := ask(m.wire())
	if err != nil {
		return nil, answer(err)
	}
	for i := range answers {
		answers[i] = answers[i][min(4, len(answers[i])):]
	}
	return answers, nil
}

// atOnce is how many questions are sent before the first answer is read. The
// socket's buffer has room for their answers.
const atOnce = 32

// askEach asks questions that have one answer each. Of what is not there it is
// nil.
func (c conn) askEach(questions []message) ([][]byte, error) {
	out := make([][]byte, len(questions))
	var first error
	for from := 0; from < len(questions); from += atOnce {
		to := min(from+atOnce, len(questions))
		var b []byte
		for i, q := range questions[from:to] {
			b = q.wire().Encode(b, uint32(from+i+1))
		}
		if err := c.Send(b); err != nil {
			return nil, err
		}
		for left := to - from; left > 0; {
			replies, err := c.Receive()
			if err != nil {
				return nil, fmt.Errorf("nftables: %w", err)
			}
			for _, r := range replies {
				i := int(r.Seq) - 1
				if i < from || i >= to {
					continue
				}
				left--
				switch err := r.Err(); {
				case err == nil:
					out[i] = bytes.Clone(r.Body[min(4, len(r.Body)):])
				case !errors.Is(err, unix.ENOENT) && first == nil:
					first = answer(err)
				}
			}
		}
	}
	return out, first
}

// generation is the number that the kernel counts up at every change of the
// namespace's ruleset.
func (c conn) generation() (uint32, error) {
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
