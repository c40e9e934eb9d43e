package dbus

import (
	"bufio"
	"encoding/binary"
	"errors"
	"net"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
)

// message is one of a bus's answers, by the rules of the other byte order too.
func message(order binary.ByteOrder, kind byte, reply uint32, signature string, body []byte, errorName string) []byte {
	word := func(b []byte, n uint32) []byte {
		for len(b)%4 != 0 {
			b = append(b, 0)
		}
		var w [4]byte
		order.PutUint32(w[:], n)
		return append(b, w[:]...)
	}
	head := byte('l')
	if order == binary.BigEndian {
		head = 'B'
	}
	b := []byte{head, kind, 0, 1}
	b = word(word(word(b, uint32(len(body))), 7), 0)
	b = append(b, fieldReplySerial, 1, 'u', 0)
	b = word(b, reply)
	text := func(code byte, kind, value string) {
		for len(b)%8 != 0 {
			b = append(b, 0)
		}
		b = append(b, code, 1, kind[0], 0)
		if kind == "g" {
			b = append(b, byte(len(value)))
		} else {
			b = word(b, uint32(len(value)))
		}
		b = append(append(b, value...), 0)
	}
	if signature != "" {
		text(fieldSignature, "g", signature)
	}
	if errorName != "" {
		text(fieldErrorName, "s", errorName)
	}
	order.PutUint32(b[12:], uint32(len(b)-16))
	for len(b)%8 != 0 {
		b = append(b, 0)
	}
	return append(b, body...)
}

// bus takes one connection, says what it is given to say, and ends it.
func bus(t *testing.T, greeting string, answers ...[]byte) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "bus")
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		c, err := l.Accept()
		if err != nil {
			return
		}
		defer c.Close()
		r := bufio.NewReader(c)
		if line, err := r.ReadString('\n'); err != nil || !strings.HasPrefix(line, "\x00AUTH EXTERNAL 3") {
			return
		}
		_, _ = c.Write([]byte(greeting))
		for _, a := range answers {
			_, _ = c.Write(a)
		}
		_, _ = r.WriteTo(discard{}) // until the other side ends it
	}()
	return path
}

type discard struct{}

func (discard) Write(b []byte) (int, error) {
	if strings.Contains(string(b), "Last") {
		return 0, errors.New("enough")
	}
	return len(b), nil
}

var (
	little, big = binary.LittleEndian, binary.BigEndian
	hello       = message(little, kindReturn, 1, "", nil, "")
	ask         = Method{"d", "/p", "i", "Last"}
)

const ok = "OK 0123\r\n"

func TestCall(t *testing.T) {
	signal := message(little, 4, 0, "", nil, "")
	foreign := message(little, kindReturn, 99, "b", []byte{1, 0, 0, 0}, "")
	for _, order := range []binary.ByteOrder{little, big} {
		var one [4]byte
		order.PutUint32(one[:], 1)
		c, err := Dial(bus(t, ok, hello, signal, foreign, message(order, kindReturn, 2, "b", one[:], "")))
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		a, err := c.Call(ask, "argument")
		if err != nil {
			t.Fatal(err)
		}
		if yes, err := a.Bool(); !yes || err != nil {
			t.Errorf("%v: %t %v", order, yes, err)
		}
		if list, err := a.Strings(); err == nil {
			t.Errorf("true is the list %q", list)
		}
	}
	list := []byte{12, 0, 0, 0, 1, 0, 0, 0, 'a', 0, 0, 0, 2, 0, 0, 0, 'b', 'c', 0}
	list[0] = byte(len(list) - 4)
	c, err := Dial(bus(t, ok, hello, message(little, kindReturn, 2, "as", list, "")))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	a, err := c.Call(ask)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := a.Strings(); err != nil || !reflect.DeepEqual(got, []string{"a", "bc"}) {
		t.Errorf("%q %v", got, err)
	}
}

func TestErrors(t *testing.T) {
	text := append([]byte{5, 0, 0, 0}, "HELLO\x00"...)
	for what, c := range map[string]struct {
		greeting string
		answers  [][]byte
		words    string
	}{
		"refused":             {"REJECTED EXTERNAL\r\n", nil, "is refused"},
		"no line":             {strings.Repeat("x", 10000), nil, "buffer full"},
		"an error":            {ok, [][]byte{hello, message(little, kindError, 2, "s", text, "org.x.Error")}, "HELLO"},
		"an error's name":     {ok, [][]byte{hello, message(little, kindError, 2, "", nil, "org.x.Error")}, "org.x.Error"},
		"nobody":              {ok, [][]byte{hello, message(big, kindError, 2, "", nil, "org.freedesktop.DBus.Error.ServiceUnknown")}, "ServiceUnknown"},
		"half a header":       {ok, [][]byte{hello, {'l', 2, 0, 1, 0}}, "EOF"},
		"half a body":         {ok, [][]byte{hello, message(little, kindReturn, 2, "s", text, "")[:38]}, "EOF"},
		"another order":       {ok, [][]byte{hello, append([]byte{'x'}, make([]byte, 40)...)}, "not in the form"},
		"more than memory":    {ok, [][]byte{hello, {'l', 2, 0, 1, 255, 255, 255, 255, 1, 0, 0, 0, 255, 255, 255, 255}}, "not in the form"},
		"a field of no type":  {ok, [][]byte{hello, {'l', 2, 0, 1, 0, 0, 0, 0, 1, 0, 0, 0, 8, 0, 0, 0, 5, 1, 'z', 0, 0, 0, 0, 0}}, `type "z"`},
		"a field of no end":   {ok, [][]byte{hello, {'l', 2, 0, 1, 0, 0, 0, 0, 1, 0, 0, 0, 8, 0, 0, 0, 4, 1, 's', 0, 255, 255, 255, 127}}, "not in the form"},
		"an endless field":    {ok, [][]byte{hello, {'l', 2, 0, 1, 0, 0, 0, 0, 1, 0, 0, 0, 8, 0, 0, 0, 4, 1, 's', 0, 255, 255, 255, 255}}, "not in the form"},
		"a signature's end":   {ok, [][]byte{hello, {'l', 2, 0, 1, 0, 0, 0, 0, 1, 0, 0, 0, 8, 0, 0, 0, 8, 1, 'g', 0, 200, 0, 0, 0}}, "not in the form"},
		"a code and no value": {ok, [][]byte{hello, {'l', 2, 0, 1, 0, 0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0, 8, 0, 0, 0, 0, 0, 0, 0}}, "not in the form"},
	} {
		t.Run(what, func(t *testing.T) {
			path := bus(t, c.greeting, c.answers...)
			conn, err := Dial(path)
			if err == nil {
				defer conn.Close()
				_, err = conn.Call(ask)
			}
			if err == nil || !strings.Contains(err.Error(), c.words) {
				t.Errorf("%v", err)
			}
			if NobodyThere(err) != (what == "nobody") {
				t.Errorf("nobody there: %t", NobodyThere(err))
			}
		})
	}
	if _, err := Dial(filepath.Join(t.TempDir(), "none")); err == nil {
		t.Error("there is no bus, and no error")
	}
	var short Answer
	short.signature, short.body = "as", reader{b: []byte{9, 0, 0, 0, 9, 0, 0, 0}, order: little}
	if list, err := short.Strings(); err == nil {
		t.Errorf("half a list is %q", list)
	}
}
