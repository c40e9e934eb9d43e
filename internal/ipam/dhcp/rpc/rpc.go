// Package rpc speaks the wire format of Go's net/rpc over HTTP: a CONNECT
// request, then gob. It is what upstream's DHCP plugin and daemon speak, so
// either end can be replaced first.
//
// It is not net/rpc itself, which draws an HTTP server, TLS and a template
// engine into a plugin that starts for every pod, and which tells a method
// neither that its caller has gone nor lets a caller give up.
package rpc

import (
	"bufio"
	"context"
	"encoding/gob"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"
)

// hello and welcome open a conversation (net/rpc: DefaultRPCPath, connected).
const (
	hello   = "CONNECT /_goRPC_ HTTP/1.0"
	welcome = "HTTP/1.0 200 Connected to Go RPC"
)

// request and response are the headers of net/rpc. gob goes by the names of
// the fields.
type request struct {
	ServiceMethod string
	Seq           uint64
}

type response struct {
	ServiceMethod string
	Seq           uint64
	Error         string
}

// Error is what the other side answered instead of a reply.
type Error string

func (e Error) Error() string { return string(e) }

// NoMethod reports whether the other side has no such method, as a server of
// another version (net/rpc's words).
func (e Error) NoMethod() bool { return strings.HasPrefix(string(e), "rpc: can't find ") }

// Call calls a method on a fresh connection, whose deadline bounds the wait.
func Call(conn net.Conn, method string, args, reply any) error {
	r, err := Greet(conn)
	if err != nil {
		return err
	}
	out, in := gob.NewEncoder(conn), gob.NewDecoder(r)
	if err := errors.Join(out.Encode(request{ServiceMethod: method}), out.Encode(args)); err != nil {
		return fmt.Errorf("send the request: %w", err)
	}
	var head response
	if err := in.Decode(&head); err != nil {
		return fmt.Errorf("read the answer: %w", err)
	}
	if head.Error != "" {
		return Error(head.Error)
	}
	if err := in.Decode(reply); err != nil {
		return fmt.Errorf("read the answer: %w", err)
	}
	return nil
}

// Greet opens a conversation, which shows that a server is there and serves.
func Greet(conn net.Conn) (*bufio.Reader, error) {
	if _, err := io.WriteString(conn, hello+"\n\n"); err != nil {
		return nil, fmt.Errorf("greet the server: %w", err)
	}
	r := bufio.NewReader(conn)
	first, err := readHead(r)
	if err != nil {
		return nil, fmt.Errorf("greet the server: %w", err)
	}
	if first != welcome {
		return nil, fmt.Errorf("greet the server: it answers %q, and speaks another protocol", first)
	}
	return r, nil
}

// headMax bounds the lines of a conversation's opening, in bytes each and in
// number.
const (
	lineMax = 1024
	headMax = 64
)

// readHead reads lines up to an empty one, and gives the first.
func readHead(r *bufio.Reader) (first string, err error) {
	for i := range headMax {
		line, err := readLine(r)
		if err != nil {
			return "", err
		}
		if line == "" {
			return first, nil
		}
		if i == 0 {
			first = line
		}
	}
	return "", errors.New("there is no end to its headers")
}

func readLine(r *bufio.Reader) (string, error) {
	var line []byte
	for len(line) < lineMax {
		b, err := r.ReadByte()
		if err != nil {
			return "", err
		}
		if b == '\n' {
			return strings.TrimSuffix(string(line), "\r"), nil
		}
		line = append(line, b)
	}
	return "", errors.New("a line is too long")
}

// Methods are what a server offers: functions of arguments of one type, by
// their names. The context ends when the caller goes away.
type Methods[A any] map[string]func(context.Context, A) (reply any, err error)

// Serve answers the callers of a listener until it is closed, then waits for
// the calls that are under way. Their contexts, and their connections' further
// requests, end with ctx.
func (m Methods[A]) Serve(ctx context.Context, l net.Listener) error {
	var calls sync.WaitGroup
	defer calls.Wait()
	for {
		conn, err := l.Accept()
		if errors.Is(err, net.ErrClosed) {
			return nil
		}
		if scarce(err) {
			select {
			case <-ctx.Done():
			case <-time.After(100 * time.Millisecond): // what is lacking comes back with the end of some call
			}
			continue
		}
		if err != nil {
			return fmt.Errorf("accept a connection: %w", err)
		}
		calls.Go(func() {
			defer conn.Close()
			defer context.AfterFunc(ctx, func() { _ = conn.SetReadDeadline(time.Unix(1, 0)) })()
			m.converse(ctx, conn)
		})
	}
}

// scarce reports whether an error of accept(2) is about what the process, or the
// machine, lacks for a moment, or about a caller that has gone already.
func scarce(err error) bool {
	return slices.ContainsFunc([]error{syscall.EMFILE, syscall.ENFILE, syscall.ENOBUFS, syscall.ENOMEM, syscall.ECONNABORTED, syscall.EINTR},
		func(e error) bool { return errors.Is(err, e) })
}

// greetWait is how long a caller has to say what it wants to speak.
const greetWait = 10 * time.Second

// converse serves one connection. Reading goes on while a call is under way: a
// caller that was killed is noticed so.
func (m Methods[A]) converse(ctx context.Context, conn net.Conn) {
	ctx, gone := context.WithCancel(ctx)
	var calls sync.WaitGroup
	defer calls.Wait()
	defer gone()
	r := bufio.NewReader(conn)
	late := time.AfterFunc(greetWait, func() { _ = conn.Close() })
	first, err := readHead(r)
	late.Stop()
	if err != nil || first != hello {
		_, _ = io.WriteString(conn, "HTTP/1.0 405 This is a Go RPC server\n\n")
		return
	}
	if _, err := io.WriteString(conn, welcome+"\n\n"); err != nil {
		return
	}
	out := &answers{to: gob.NewEncoder(conn)}
	for in := gob.NewDecoder(r); ; {
		var head request
		var args A
		if in.Decode(&head) != nil || in.Decode(&args) != nil {
			return
		}
		calls.Go(func() {
			reply, err := m.call(ctx, head.ServiceMethod, args)
			out.send(head, reply, err)
		})
	}
}

// call runs a method. One that panics answers with an error: a server that
// keeps the leases of a node does not die of one of them.
func (m Methods[A]) call(ctx context.Context, method string, args A) (reply any, err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("%s: internal error: %v", method, p)
		}
	}()
	f, ok := m[method]
	if !ok {
		return nil, fmt.Errorf("rpc: can't find method %s", method)
	}
	return f(ctx, args)
}

// answers writes one answer at a time.
type answers struct {
	sync.Mutex
	to *gob.Encoder
}

func (a *answers) send(to request, reply any, err error) {
	a.Lock()
	defer a.Unlock()
	head := response{ServiceMethod: to.ServiceMethod, Seq: to.Seq}
	if err != nil {
		head.Error, reply = err.Error(), struct{}{}
	}
	if a.to.Encode(head) == nil {
		_ = a.to.Encode(reply) // who has gone does not want it
	}
}
