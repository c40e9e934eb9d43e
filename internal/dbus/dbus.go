// Package dbus calls methods over D-Bus, as far as a plugin needs it: arguments
// are strings, and answers are nothing, a string, a list of strings, or true and
// false. The rules are those of the D-Bus Specification 0.43; the names of its
// sections stand in the code.
package dbus

import (
	"bufio"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/catena-cni/catena/internal/file"
)

// patience bounds the wait for one answer. A daemon that loads its
// configuration answers when it is through.
const patience = 30 * time.Second

// SystemBus is the path of the system bus's socket.
// ("Well-known Message Bus Instances")
func SystemBus() string {
	path, ok := strings.CutPrefix(os.Getenv("DBUS_SYSTEM_BUS_ADDRESS"), "unix:path=")
	if path, _, _ = strings.Cut(path, ","); ok && strings.HasPrefix(path, "/") {
		return path
	}
	return "/run/dbus/system_bus_socket"
}

// Conn is a connection to a bus, for one goroutine.
type Conn struct {
	socket socket
	reader *bufio.Reader
	serial uint32
}

// Dial connects to the bus whose socket is at path. Where there is none it is
// os.ErrNotExist or syscall.ECONNREFUSED.
func Dial(path string) (*Conn, error) {
	s, err := connect(path)
	if err != nil {
		return nil, fmt.Errorf("D-Bus at %s: %w", path, err)
	}
	c := &Conn{socket: s, reader: bufio.NewReader(s)}
	if err := c.start(); err != nil {
		c.Close()
		return nil, fmt.Errorf("D-Bus at %s: %w", path, err)
	}
	return c, nil
}

// Close closes the connection.
func (c *Conn) Close() { _ = unix.Close(int(c.socket)) }

// socket is a connected socket. What package net would add to a plugin is a
// tenth of its size.
type socket int

func connect(path string) (socket, error) {
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return 0, err
	}
	wait := unix.NsecToTimeval(int64(patience))
	err = errors.Join(
		unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &wait),
		unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_SNDTIMEO, &wait),
	)
	if err == nil {
		// A wait that has an end is not taken up again by the kernel after a signal
		// (signal(7), SO_SNDTIMEO).
		err = file.Again(func() error { return unix.Connect(fd, &unix.SockaddrUnix{Name: path}) })
	}
	if err != nil {
		_ = unix.Close(fd)
		return 0, err
	}
	return socket(fd), nil
}

func (s socket) Read(b []byte) (int, error) {
	n, err := file.Retry(func() (int, error) { return unix.Read(int(s), b) })
	switch {
	case errors.Is(err, unix.EAGAIN):
		return 0, fmt.Errorf("no answer: %w", os.ErrDeadlineExceeded)
	case err != nil:
		return 0, err
	case n == 0 && len(b) > 0:
		return 0, io.EOF
	}
	return n, nil
}

func (s socket) Write(b []byte) (n int, err error) {
	for n < len(b) {
		written, err := file.Retry(func() (int, error) { return unix.SendmsgN(int(s), b[n:], nil, nil, unix.MSG_NOSIGNAL) })
		if err != nil {
			return n, err
		}
		n += written
	}
	return n, nil
}

// start tells the bus who calls, which it looks up at the socket, and takes a
// name there. ("Authentication Protocol", "EXTERNAL"; "Hello")
func (c *Conn) start() error {
	uid := hex.EncodeToString(fmt.Append(nil, os.Getuid()))
	if _, err := io.WriteString(c.socket, "\x00AUTH EXTERNAL "+uid+"\r\n"); err != nil {
		return err
	}
	answer, err := c.reader.ReadSlice('\n') // of at most the reader's size
	if err != nil {
		return err
	}
	if text := strings.TrimSpace(string(answer)); text != "OK" && !strings.HasPrefix(text, "OK ") {
		return fmt.Errorf("user %d is refused: %q", os.Getuid(), text)
	}
	if _, err := io.WriteString(c.socket, "BEGIN\r\n"); err != nil {
		return err
	}
	_, err = c.Call(Method{"org.freedesktop.DBus", "/org/freedesktop/DBus", "org.freedesktop.DBus", "Hello"})
	return err
}

// Method names what is called.
type Method struct{ Destination, Path, Interface, Name string }

// Error is an answer that says that a call had no success.
type Error struct{ Name, Message string }

func (e *Error) Error() string {
	if e.Message == "" {
		return e.Name
	}
	return e.Message
}

// NobodyThere reports whether nobody has the name that was called.
func NobodyThere(err error) bool {
	var e *Error
	return errors.As(err, &e) && (e.Name == "org.freedesktop.DBus.Error.ServiceUnknown" || e.Name == "org.freedesktop.DBus.Error.NameHasNoOwner")
}

// Call calls a method and waits for the answer. Who is called is not started
// for it. What the bus says beside is passed over.
func (c *Conn) Call(m Method, args ...string) (Answer, error) {
	c.serial++
	if _, err := c.socket.Write(encode(m, c.serial, args)); err != nil {
		return Answer{}, fmt.Errorf("D-Bus: %w", err)
	}
	for {
		a, err := c.receive()
		switch {
		case err != nil:
			return Answer{}, fmt.Errorf("D-Bus: %w", err)
		case a.replySerial != c.serial:
		case a.kind == kindError:
			return Answer{}, &Error{a.errorName, a.text()}
		case a.kind == kindReturn:
			return a, nil
		}
	}
}
