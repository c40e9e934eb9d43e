// Package plugin turns a pure function from an attachment and a configuration
// to a list of facts into a CNI plugin: it speaks the protocol, asks IPAM, makes
// the facts true or untrue, looks whether they are, and prints the result. Run
// with an argument, which no runtime passes, a plugin serves people with the
// same code.
package plugin

import (
	"errors"
	"fmt"
	"io"
	"os"

	"golang.org/x/sys/unix"

	"github.com/catena-cni/catena/internal/cni"
	"github.com/catena-cni/catena/internal/kernel"
)

// Version is what the build stamped the binary with.
var Version = "unknown"

// Program is a plugin as Main runs it: a Plugin, an IPAM or a Delegator.
type Program interface {
	// title is the plugin's name.
	title() string
	// shapes are the types that read its configuration.
	shapes() []any
	// needsName says that a configuration without a name is an error.
	needsName() bool

	add(*cni.Request) (*cni.Result, func() error, error)
	del(*cni.Request) error
	check(*cni.Request) error
	gc(*cni.Request) error
	status(*cni.Request) error
	// plan writes what ADD would do, for people, and preview the result that it
	// would have, for another plugin.
	plan(*cni.Request, io.Writer) error
	preview(*cni.Request) (*cni.Result, error)
}

// Main runs the plugin on the process's arguments, environment and standard
// input, and ends the process. For a runtime a reader that has gone is an error of
// the write, and not the end of a plugin that has something to take back.
func Main(p Program) {
	if len(os.Args) > 1 {
		os.Exit(people(p, os.Args[1:]))
	}
	os.Stdout, os.Stderr = apart(os.Stdout), apart(os.Stderr)
	os.Exit(serve(p, os.Getenv, os.Stdin, os.Stdout, os.Stderr))
}

// apart is a standard file under another descriptor: by its own, a write that nobody
// reads would end the process (os/signal). To have the signal as a message would take
// a thread, 0.12 ms of each call.
func apart(f *os.File) *os.File {
	fd, err := unix.FcntlInt(f.Fd(), unix.F_DUPFD_CLOEXEC, 3)
	if err != nil {
		return f
	}
	return os.NewFile(uintptr(fd), f.Name())
}

// serve is one call by a runtime.
func serve(p Program, getenv func(string) string, stdin io.Reader, stdout, stderr io.Writer) int {
	switch getenv("CNI_COMMAND") {
	case "":
		fmt.Fprintf(stderr, "%sA plugin of catena: '%s help' says what it does for people.\n", about(p), p.title())
		return 0
	case cni.Version:
		return end(cni.PrintVersions(stdout), "1.1.0", stdout, stderr)
	}
	r, err := cni.Read(getenv, stdin)
	if err == nil || r.Verb == cni.Del {
		err = call(p, r, err, stdout, stderr)
	}
	return end(err, r.Conf.CNIVersion, stdout, stderr)
}

// end prints an error, on standard error where standard output takes none.
func end(err error, version string, stdout, stderr io.Writer) int {
	if err == nil {
		return 0
	}
	text := cni.PrintError(version, err)
	if _, err := stdout.Write(text); err != nil {
		_, _ = stderr.Write(text)
	}
	return 1
}

// call runs a verb. A DEL runs also when the configuration has errors, as far as
// it can be read: what it is to clean is there all the same.
func call(p Program, r *cni.Request, broken error, stdout, stderr io.Writer) error {
	if broken != nil && cni.HopelessFor(broken) {
		return broken
	}
	if err := checkName(p, r); err != nil {
		return err
	}
	if err := guardNetns(r); err != nil {
		return err
	}
	switch r.Verb {
	case cni.Add:
		return add(p, r, stdout, stderr)
	case cni.Del:
		return p.del(r)
	case cni.Check:
		return p.check(r)
	case cni.Status:
		return p.status(r)
	}
	return p.gc(r)
}

// checkName refuses what cannot be a name, and where one is needed, none.
func checkName(p Program, r *cni.Request) error {
	if r.Network == "" && !p.needsName() {
		return nil
	}
	return r.CheckName()
}

// guardNetns keeps a pod's plugin out of the namespace that it runs in itself.
// Where DEL is given that one, the pod's own is gone.
func guardNetns(r *cni.Request) error {
	if r.Netns == "" || r.OwnNetns || !kernel.OwnNetns(r.Netns) {
		return nil
	}
	switch r.Verb {
	case cni.Del:
		r.Netns = ""
	case cni.Add, cni.Check:
		err := cni.Errorf(cni.CodeNetns, "CNI_NETNS %s is the network namespace that the plugin itself runs in", r.Netns)
		return cni.Hint(err, "give the container a namespace of its own, or set CNI_NETNS_OVERRIDE=1 if this is meant")
	}
	return nil
}

// add also takes everything back where the result cannot be printed in the
// version that was asked for, or not be written.
func add(p Program, r *cni.Request, stdout, stderr io.Writer) error {
	if err := r.Warn(stderr, p.title(), p.shapes()...); err != nil {
		return err
	}
	result, undo, err := p.add(r)
	if err != nil {
		return err
	}
	out, err := cni.Print(result, r.Conf.CNIVersion)
	if err == nil {
		_, err = stdout.Write(out)
		err = cni.WithCode(cni.CodeIO, err)
	}
	if err != nil {
		return errors.Join(err, undo())
	}
	return nil
}
