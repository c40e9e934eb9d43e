// Package strace counts what programs ask of the kernel, by what the tool strace shows of their system calls.
package strace

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
)

// shown are the system calls that say what is counted.
const shown = "execve,execveat,socket,write,writev,sendto,sendmsg,sendmmsg,fsync,fdatasync,syncfs,sync_file_range,sync"

// Record has strace watch this program while do runs, and gives what this program and all that it executes has asked
// for. Whatever else goes on in this program meanwhile is counted too, so nothing should.
func Record(do func() error) (Calls, error) {
	folder, err := os.MkdirTemp("", "strace-")
	if err != nil {
		return Calls{}, err
	}
	defer os.RemoveAll(folder)
	end, err := attach(filepath.Join(folder, "thread"))
	if err != nil {
		return Calls{}, fmt.Errorf("strace: %w", err)
	}
	err = errors.Join(do(), end())
	if err != nil {
		return Calls{}, err
	}
	return read(folder)
}

// attach starts strace, with a file for each thread, in which no call is cut in two by those of other threads. Constants
// are numbers: the names of a message's types hang on the kind of its socket, which strace can only find out of sockets
// in its own network namespace. For the same reason sockets go by their inodes.
func attach(files string) (end func() error, err error) {
	cmd := exec.Command("strace", "-ff", "-o", files, "-p", strconv.Itoa(os.Getpid()),
		"-e", "trace="+shown, "-e", "signal=none", "-X", "raw", "-y", "-s", "32",
		"-e", "abbrev=execve,execveat") // and all messages of a batch, since nothing else is abbreviated
	said, err := cmd.StderrPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	end = func() error {
		err := cmd.Process.Signal(os.Interrupt)
		_ = cmd.Wait() // its exit code is that of the interrupt
		return err
	}
	// "strace: Process 42 attached with 7 threads": from then on it sees everything.
	lines := bufio.NewReader(said)
	first, err := lines.ReadString('\n')
	if !attached.MatchString(first) {
		rest, _ := io.ReadAll(lines)
		return nil, errors.Join(fmt.Errorf("it does not watch this program: %s%s", first, rest), err, end())
	}
	go func() { _, _ = io.Copy(io.Discard, lines) }()
	return end, nil
}

func read(folder string) (Calls, error) {
	files, err := filepath.Glob(filepath.Join(folder, "thread.*"))
	if err != nil {
		return Calls{}, err
	}
	var threads []string
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			return Calls{}, err
		}
		threads = append(threads, string(text))
	}
	return parse(threads)
}
