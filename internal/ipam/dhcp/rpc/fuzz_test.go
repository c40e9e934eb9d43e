package rpc

import (
	"bytes"
	"context"
	"encoding/gob"
	"io"
	"net"
	"slices"
	"testing"
)

// encoded are messages as they are sent.
func encoded(f *testing.F, messages ...any) []byte {
	var b bytes.Buffer
	e := gob.NewEncoder(&b)
	for _, m := range messages {
		if err := e.Encode(m); err != nil {
			f.Fatal(err)
		}
	}
	return b.Bytes()
}

// FuzzServe: whatever a peer sends, the conversation ends when the peer is silent, and
// there is an answer to each call that could be read, and to nothing else.
func FuzzServe(f *testing.F) {
	greeting := []byte(hello + "\n\n")
	f.Add([]byte("GET / HTTP/1.0\n\n"))
	f.Add(bytes.Repeat([]byte("x\n"), headMax+1))
	f.Add(slices.Concat(greeting, encoded(f, request{ServiceMethod: "Math.Add", Seq: 7}, Args{2, 3}, request{ServiceMethod: "Math.Panic"}, Args{})))
	f.Add(slices.Concat(greeting, encoded(f, request{ServiceMethod: "Math.Nothing"}, struct{ A string }{"x"})))
	f.Add(slices.Concat(greeting, []byte{0xf8, 0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff}))
	f.Fuzz(func(t *testing.T, sent []byte) {
		l := listen(t)
		defer l.Close()
		peer := dial(t, l).(*net.UnixConn)
		server, err := l.Accept()
		if err != nil {
			t.Fatal(err)
		}
		called := make(chan struct{}, len(sent)+1)
		m := Methods[Args]{
			"Math.Add":   func(_ context.Context, a Args) (any, error) { called <- struct{}{}; return Sum{a.A + a.B}, nil },
			"Math.Panic": func(context.Context, Args) (any, error) { called <- struct{}{}; panic("over the edge") },
		}
		go func() {
			m.converse(t.Context(), server)
			server.Close()
		}()
		go func() {
			_, _ = peer.Write(sent)
			_ = peer.CloseWrite()
		}()
		answer, err := io.ReadAll(peer)
		if err != nil {
			t.Fatal(err)
		}
		in := gob.NewDecoder(bytes.NewReader(bytes.TrimPrefix(answer, []byte(welcome+"\n\n"))))
		answers := 0
		for {
			var head response
			var sum Sum
			if in.Decode(&head) != nil || in.Decode(&sum) != nil {
				break
			}
			if head.Error == "" || head.Error == "Math.Panic: internal error: over the edge" {
				answers++
			}
		}
		if answers != len(called) {
			t.Errorf("%d calls, and %d answers", len(called), answers)
		}
	})
}

// FuzzCall: whatever a daemon answers, the call ends with the reply or an error.
func FuzzCall(f *testing.F) {
	greeting := []byte(welcome + "\n\n")
	f.Add(slices.Concat(greeting, encoded(f, response{ServiceMethod: "Math.Add"}, Sum{5})))
	f.Add(slices.Concat(greeting, encoded(f, response{Error: "no sum today"}, struct{}{})))
	f.Add(slices.Concat(greeting, encoded(f, response{}, Args{1, 2})))
	f.Add([]byte("HTTP/1.0 405 This is a Go RPC server\n\n"))
	f.Fuzz(func(t *testing.T, answer []byte) {
		peer, conn := net.Pipe()
		go func() { _, _ = io.Copy(io.Discard, peer) }()
		go func() {
			_, _ = peer.Write(answer)
			peer.Close()
		}()
		var sum Sum
		err := Call(conn, "Math.Add", Args{2, 3}, &sum)
		conn.Close()
		if err != nil && sum != (Sum{}) {
			t.Errorf("%v beside %v", sum, err)
		}
		if err != nil && len(err.Error()) > len(answer)*4+1000 {
			t.Errorf("an error of %d bytes", len(err.Error()))
		}
	})
}
