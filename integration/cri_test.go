package integration

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
)

// cri calls a container runtime as the kubelet does, by gRPC, which is HTTP/2 with a message in each direction.
type cri struct {
	*testing.T
	client *http.Client
}

// newCRI is a client of the runtime that listens on a socket.
func newCRI(t *testing.T, socket string) cri {
	var only http.Protocols
	only.SetUnencryptedHTTP2(true)
	transport := &http.Transport{Protocols: &only, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", socket)
	}}
	t.Cleanup(transport.CloseIdleConnections)
	return cri{t, &http.Client{Transport: transport}}
}

// try calls a method with a request's fields.
func (c cri) try(method string, fields ...field) (message, error) {
	body := message(fields).bytes()
	frame := append(binary.BigEndian.AppendUint32([]byte{0}, uint32(len(body))), body...)
	r, err := http.NewRequest("POST", "http://cri/runtime.v1."+method, bytes.NewReader(frame))
	must(c.T, err)
	r.Header.Set("Content-Type", "application/grpc")
	r.Header.Set("TE", "trailers")
	answer, err := c.client.Do(r)
	if err != nil {
		return nil, err
	}
	defer answer.Body.Close()
	all, err := io.ReadAll(answer.Body)
	if err != nil {
		return nil, err
	}
	for _, from := range []http.Header{answer.Trailer, answer.Header} {
		if status := from.Get("Grpc-Status"); status == "0" && len(all) >= 5 {
			return parse(c.T, all[5:]), nil
		} else if status != "" {
			return nil, fmt.Errorf("%s: status %s: %s", method, status, from.Get("Grpc-Message"))
		}
	}
	return nil, fmt.Errorf("%s: no status: %q", method, all)
}

// call is try for what must not fail.
func (c cri) call(method string, fields ...field) message {
	c.Helper()
	m, err := c.try(method, fields...)
	must(c.T, err)
	return m
}

// field is one of a protobuf message: a number, or text, or a message.
type field struct {
	number int
	value  any
}

type message []field

func (m message) bytes() (b []byte) {
	for _, f := range m {
		switch v := f.value.(type) {
		case int:
			b = binary.AppendUvarint(binary.AppendUvarint(b, uint64(f.number<<3)), uint64(v))
		case string:
			b = binary.AppendUvarint(binary.AppendUvarint(b, uint64(f.number<<3|2)), uint64(len(v)))
			b = append(b, v...)
		case message:
			b = append(b, message{{f.number, string(v.bytes())}}.bytes()...)
		}
	}
	return b
}

// parse takes a message apart: those in it are text still.
func parse(t *testing.T, b []byte) (m message) {
	t.Helper()
	r := bytes.NewReader(b)
	for r.Len() > 0 {
		key, err := binary.ReadUvarint(r)
		must(t, err)
		value, err := binary.ReadUvarint(r)
		must(t, err)
		switch key & 7 {
		case 0:
			m = append(m, field{int(key >> 3), int(value)})
		case 2:
			text := make([]byte, value)
			_, err := io.ReadFull(r, text)
			must(t, err)
			m = append(m, field{int(key >> 3), string(text)})
		default:
			t.Fatalf("a field of type %d in %q", key&7, b)
		}
	}
	return m
}

// text is the first field of a number, found through the messages around it.
func (m message) text(t *testing.T, numbers ...int) string {
	t.Helper()
	for _, f := range m {
		if v, ok := f.value.(string); ok && f.number == numbers[0] {
			if len(numbers) == 1 {
				return v
			}
			return parse(t, []byte(v)).text(t, numbers[1:]...)
		}
	}
	return ""
}

// networkReady is the runtime's condition of that name, and why it is not.
func (c cri) networkReady() (bool, string) {
	c.Helper()
	for _, f := range parse(c.T, []byte(c.call("RuntimeService/Status").text(c.T, 1))) {
		condition := parse(c.T, []byte(f.value.(string)))
		if f.number != 1 || condition.text(c.T, 1) != "NetworkReady" {
			continue
		}
		for _, f := range condition {
			if f.number == 2 && f.value == 1 {
				return true, ""
			}
		}
		return false, strings.TrimSpace(condition.text(c.T, 3) + " " + condition.text(c.T, 4))
	}
	c.Fatal("the runtime has no NetworkReady")
	return false, ""
}
