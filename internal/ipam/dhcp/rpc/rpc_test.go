package rpc

import (
	"context"
	"errors"
	"net"
	"net/http"
	"net/rpc"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// Args and Sum are what is sent. net/rpc wants them exported.
type (
	Args struct{ A, B int }
	Sum  struct{ Sum int }
)

func methods(left chan error) Methods[Args] {
	return Methods[Args]{
		"Math.Add":   func(_ context.Context, a Args) (any, error) { return Sum{a.A + a.B}, nil },
		"Math.Fail":  func(context.Context, Args) (any, error) { return nil, errors.New("no sum today") },
		"Math.Panic": func(context.Context, Args) (any, error) { panic("over the edge") },
		"Math.Wait": func(ctx context.Context, _ Args) (any, error) {
			left <- nil // it has begun
			<-ctx.Done()
			left <- ctx.Err()
			return Sum{}, nil
		},
	}
}

// serve listens on a socket of the test's own.
func serve(t *testing.T, l net.Listener, m Methods[Args]) {
	done := make(chan error)
	go func() { done <- m.Serve(t.Context(), l) }()
	t.Cleanup(func() {
		l.Close()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}

func listen(t *testing.T) net.Listener {
	l, err := net.Listen("unix", filepath.Join(t.TempDir(), "s"))
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func dial(t *testing.T, l net.Listener) net.Conn {
	conn, err := net.Dial("unix", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	_ = conn.SetDeadline(time.Now().Add(time.Minute))
	return conn
}

func TestCall(t *testing.T) {
	l := listen(t)
	serve(t, l, methods(nil))
	var got Sum
	if err := Call(dial(t, l), "Math.Add", Args{2, 3}, &got); err != nil || got.Sum != 5 {
		t.Errorf("%v %v", got, err)
	}
	for method, words := range map[string]string{
		"Math.Fail": "no sum today", "Math.Panic": "internal error: over the edge", "Math.Nothing": "can't find method Math.Nothing",
	} {
		err := Call(dial(t, l), method, Args{}, &got)
		var answered Error
		if !errors.As(err, &answered) || !strings.Contains(err.Error(), words) {
			t.Errorf("%s: %v", method, err)
		}
		if answered.NoMethod() != (method == "Math.Nothing") {
			t.Errorf("%s: there is such a method: %t", method, !answered.NoMethod())
		}
	}
}

// TestPeers lets each side speak with Go's own.
func TestPeers(t *testing.T) {
	l := listen(t)
	serve(t, l, methods(nil))
	theirs, err := rpc.DialHTTP("unix", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer theirs.Close()
	for i := range 3 {
		var got Sum
		if err := theirs.Call("Math.Add", Args{i, 1}, &got); err != nil || got.Sum != i+1 {
			t.Errorf("Go's client: %v %v", got, err)
		}
	}
	if err := theirs.Call("Math.Fail", Args{}, &Sum{}); err == nil || err.Error() != "no sum today" {
		t.Errorf("Go's client: %v", err)
	}

	peer, server := listen(t), rpc.NewServer()
	if err := server.RegisterName("Math", theirMath{}); err != nil {
		t.Fatal(err)
	}
	go http.Serve(peer, server)
	defer peer.Close()
	var got Sum
	if err := Call(dial(t, peer), "Math.Add", Args{2, 3}, &got); err != nil || got.Sum != 5 {
		t.Errorf("Go's server: %v %v", got, err)
	}
	var answered Error
	if err := Call(dial(t, peer), "Math.Nothing", Args{}, &got); !errors.As(err, &answered) || !answered.NoMethod() {
		t.Errorf("Go's server: %v", err)
	}
}

type theirMath struct{}

func (theirMath) Add(a *Args, out *Sum) error {
	out.Sum = a.A + a.B
	return nil
}

// TestCallerLeaves: a method hears of it, and the server ends in spite of it.
func TestCallerLeaves(t *testing.T) {
	l, left := listen(t), make(chan error, 1)
	serve(t, l, methods(left))
	conn := dial(t, l)
	go func() { _ = Call(conn, "Math.Wait", Args{}, &Sum{}) }()
	<-left
	conn.Close()
	select {
	case err := <-left:
		if !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
	case <-time.After(time.Minute):
		t.Error("the method was not told")
	}
}

// TestStrangers: who speaks something else is turned away, and hurts nobody.
func TestStrangers(t *testing.T) {
	l := listen(t)
	serve(t, l, methods(nil))
	for _, text := range []string{"GET / HTTP/1.0\n\n", strings.Repeat("x", 5000), strings.Repeat("a: b\n", 100), "CONNECT /_goRPC_ HTTP/1.0\n\n\x07rubbish", "\n\n"} {
		conn := dial(t, l)
		_, _ = conn.Write([]byte(text))
		_ = conn.(*net.UnixConn).CloseWrite()
		if err := Call(dial(t, l), "Math.Add", Args{1, 1}, &Sum{}); err != nil {
			t.Errorf("after %.20q: %v", text, err)
		}
	}
	stranger := listen(t)
	defer stranger.Close()
	go http.Serve(stranger, http.NotFoundHandler())
	if _, err := Greet(dial(t, stranger)); err == nil || !strings.Contains(err.Error(), "another protocol") {
		t.Errorf("a web server: %v", err)
	}
}

// TestBounds: a caller that sends without end is cut off, and one that asks
// without end has no more than one call under way. Others are served.
func TestBounds(t *testing.T) {
	const asked = 100
	l, begun := listen(t), make(chan error, asked)
	served := make(chan struct{})
	m := methods(nil)
	m["Math.Hold"] = func(ctx context.Context, _ Args) (any, error) {
		begun <- nil
		<-ctx.Done()
		return Sum{}, nil
	}
	serve(t, l, m)

	endless := dial(t, l)
	if _, err := Greet(endless); err != nil {
		t.Fatal(err)
	}
	// A message of 512 MiB, as gob writes its length: it is read as far as the bound.
	if _, err := endless.Write([]byte{0xfc, 0x20, 0, 0, 0}); err != nil {
		t.Fatal(err)
	}
	sent, chunk := 0, make([]byte, 1<<20)
	for sent < 10*conversationMax {
		n, err := endless.Write(chunk)
		sent += n
		if err != nil {
			break
		}
	}
	if sent >= 2*conversationMax {
		t.Errorf("the server takes %d bytes of a message", sent)
	}

	many, err := rpc.DialHTTP("unix", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	go func() {
		defer close(served)
		for range asked {
			many.Go("Math.Hold", Args{}, &Sum{}, make(chan *rpc.Call, 1))
		}
	}()
	<-begun
	if err := Call(dial(t, l), "Math.Add", Args{1, 1}, &Sum{}); err != nil {
		t.Error(err)
	}
	if n := len(begun); n != 0 {
		t.Errorf("%d calls more are under way", n)
	}
	many.Close()
	<-served
}
