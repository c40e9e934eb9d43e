package dbus

import (
	"bufio"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/catena-cni/catena/internal/kerneltest"
)

// TestSignals: signals end neither the wait for room in a bus's queue nor that
// for an answer.
func TestSignals(t *testing.T) {
	path := filepath.Join(t.TempDir(), "bus")
	bus, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(bus)
	if err := unix.Bind(bus, &unix.SockaddrUnix{Name: path}); err != nil {
		t.Fatal(err)
	}
	if err := unix.Listen(bus, 0); err != nil {
		t.Fatal(err)
	}
	first, err := connect(path) // which takes the room that there is
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(int(first))
	accept := func() int {
		fd, _, err := unix.Accept(bus)
		if err != nil {
			t.Error(err)
		}
		return fd
	}
	var server int
	var second socket
	kerneltest.Interrupted(t, unix.SYS_CONNECT, func() { second, err = connect(path) }, func() { server = accept() })
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(server)
	defer unix.Close(int(second))
	server = accept()
	defer unix.Close(server)
	var line string
	kerneltest.Interrupted(t, unix.SYS_READ, func() { line, err = bufio.NewReader(second).ReadString('\n') }, func() {
		if _, err := unix.Write(server, []byte("OK\n")); err != nil {
			t.Error(err)
		}
	})
	if err != nil || line != "OK\n" {
		t.Errorf("%q, %v", line, err)
	}
}
