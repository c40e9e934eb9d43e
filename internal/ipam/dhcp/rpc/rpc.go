// Package rpc speaks the wire format of Go's net/rpc over HTTP: a CONNECT
// request, then gob. It is what upstream's DHCP plugin and daemon speak, so
// either end can be replaced first.
//
// It is not net/rpc itself, which draws an HTTP server, TLS and a template
// engine into a plugin that starts for every pod (2.5 MB), and which neither tells
// a method that its caller has gone nor bounds what a caller may send.
package rpc

import (
	"bufio"
	"context"
	"encoding/gob"
	"errors"
	"fmt"
	"io"
	"net"
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
	if err = in.Decode(&head); err == nil && head.Error != "" {
		return Error(head.Error)
	}
	if err == nil {
		err = in.Decode(reply)
	}
	if err != nil {
		return fmt.Errorf("read the answer: %w", err)
	}
	return nil
}

// Greet opens a conversation, which shows that a server is there and serves.
func Greet(conn net.Conn) (*bufio.Reader, error) {
	if _, err := io.WriteString(conn, hello+"\n\n"); err != nil {
		return nil, fmt.Errorf("greet the server: %w", err)
	}
	r := reader(conn)
	first, err := readHead(r)
	if err != nil {
		return nil, fmt.Errorf("greet the server: %w", err)
	}
	if first != welcome {
		return nil, fmt.Errorf("greet the server: it answers %q, and speaks another protocol", first)
	}
	return r, nil
}

// Bounds of what a peer may send: gob alone would take a gigabyte for one message.
const (
	// conversationMax bounds a connection, in bytes. A runtime's configuration has
	// a few thousand, and upstream's plugin opens a connection for each call.
	conversationMax = 8 << 20
	// headMax bounds the lines before the first message. Each has to fit into the
	// reader's buffer.
	headMax = 64
)

func reader(conn net.Conn) *bufio.Reader {
	return bufio.NewReader(io.LimitReader(conn, conversationMax))
}

// readHead reads lines up to an empty one, and gives the first.
func readHead(r *bufio.Reader) (first string, err error) {
	for i := range headMax {
		line, err := r.ReadSlice('\n')
		text := strings.TrimRight(string(line), "\r\n")
		switch {
		case err != nil:
			return "", err
		case text == "":
			return first, nil
		case i == 0:
			first = text
		}
	}
	return "", errors.New("there is no end to its headers")
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
		switch {
		case errors.Is(err, net.ErrClosed):
			return nil
		case errors.Is(err, syscall.EMFILE), errors.Is(err, syscall.ENFILE), errors.Is(err, syscall.ENOBUFS), errors.Is(err, syscall.ENOMEM):
			select { // until some call ends, and gives back what is lacking
			case <-ctx.Done():
			case <-time.After(100 * time.Millisecond):
			}
			continue
		case err != nil:
			return fmt.Errorf("accept a connection: %w", err)
		}
		calls.Go(func() {
			defer conn.Close()
			defer context.AfterFunc(ctx, func() { _ = conn.SetReadDeadline(time.Unix(1, 0)) })()
			m.converse(ctx, conn)
		})
	}
}

// greetWait is how long a caller has to say what it wants to speak.
const greetWait = 10 * time.Second

// converse serves one connection, a call after the other.
func (m Methods[A]) converse(ctx context.Context, conn net.Conn) {
	r := reader(conn)
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
	out := gob.NewEncoder(conn)
	for in := gob.NewDecoder(r); ; {
		var head request
		var args A
		if in.Decode(&head) != nil || in.Decode(&args) != nil {
			return
		}
		calling, end := context.WithCancel(ctx)
		heard := make(chan struct{})
		go func() { // reads on while the call is under way: a caller that was killed is noticed so
			defer close(heard)
			if _, err := r.Peek(1); err != nil {
				end()
			}
		}()
		answer := response{ServiceMethod: head.ServiceMethod, Seq: head.Seq}
		reply, err := m.call(calling, head.ServiceMethod, args)
		if err != nil {
			answer.Error, reply = err.Error(), struct{}{}
		}
		if out.Encode(answer) == nil {
			_ = out.Encode(reply) // who has gone does not want it
		}
		<-heard
		end()
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
