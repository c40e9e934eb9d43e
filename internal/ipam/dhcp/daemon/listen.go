package daemon

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"syscall"
)

// listen gives the socket that systemd has opened for this process
// (sd_listen_fds(3)), or opens one at path. Closing it removes the second.
func listen(path string) (net.Listener, error) {
	n, err := strconv.Atoi(os.Getenv("LISTEN_FDS"))
	if err != nil || n == 0 || os.Getenv("LISTEN_PID") != strconv.Itoa(os.Getpid()) {
		return open(path)
	}
	if n > 1 {
		return nil, fmt.Errorf("systemd hands over %d sockets, and one is wanted: look at ListenStream= of the socket's unit", n)
	}
	const first = 3 // SD_LISTEN_FDS_START
	syscall.CloseOnExec(first)
	socket := os.NewFile(first, "socket")
	defer socket.Close()
	l, err := net.FileListener(socket)
	if err != nil {
		return nil, fmt.Errorf("the socket that systemd hands over: %w", err)
	}
	return l, nil
}

// open listens at path. What a daemon has left there that was killed is removed;
// one that lives is not robbed of its socket.
func open(path string) (net.Listener, error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return nil, err
	}
	if conn, err := net.Dial("unix", path); err == nil {
		conn.Close()
		return nil, fmt.Errorf("a daemon listens at %s already", path)
	} else if errors.Is(err, syscall.ECONNREFUSED) {
		if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, err
		}
	}
	// Whoever may write to it may have leases got in any namespace.
	defer syscall.Umask(syscall.Umask(0o117))
	return net.Listen("unix", path)
}
