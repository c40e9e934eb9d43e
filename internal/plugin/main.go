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
// input, and ends the process.
func Main(p Program) {
	if len(os.Args) > 1 {
		os.Exit(people(p, os.Args[1:]))
	}
	os.Exit(serve(p, os.Getenv, os.Stdin, os.Stdout, os.Stderr))
}

// serve is one call by a runtime.
func serve(p Program, getenv func(string) string, stdin io.Reader, stdout, stderr io.Writer) int {
	switch getenv("CNI_COMMAND") {
	case "":
		fmt.Fprintf(stderr, "catena CNI plugin %s %s\n%s\nRun '%s help' to see what it does for people.\n", p.title(), Version, cni.About(), p.title())
		return 0
	case cni.Version:
		return end(cni.PrintVersions(stdout), "1.1.0", stdout)
	}
	r, err := cni.Read(getenv, stdin)
	if err == nil || r.Verb == cni.Del {
		var out []byte
		out, err = call(p, r, err, stderr)
		if err == nil {
			_, err = stdout.Write(out)
		}
	}
	return end(err, r.Conf.CNIVersion, stdout)
}

func end(err error, version string, stdout io.Writer) int {
	if err == nil {
		return 0
	}
	_, _ = stdout.Write(cni.PrintError(version, err))
	return 1
}

// call runs a verb. A DEL runs also when the configuration has errors, as far as
// it can be read: what it is to clean is there all the same.
func call(p Program, r *cni.Request, broken error, stderr io.Writer) ([]byte, error) {
	if broken != nil && cni.HopelessFor(broken) {
		return nil, broken
	}
	if p.needsName() {
		if err := r.CheckName(); err != nil {
			return nil, err
		}
	}
	if err := guardNetns(r); err != nil {
		return nil, err
	}
	switch r.Verb {
	case cni.Add:
		return add(p, r, stderr)
	case cni.Del:
		return nil, p.del(r)
	case cni.Check:
		return nil, p.check(r)
	case cni.Status:
		return nil, p.status(r)
	}
	return nil, p.gc(r)
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
// version that was asked for.
func add(p Program, r *cni.Request, stderr io.Writer) ([]byte, error) {
	if err := r.Warn(stderr, p.title(), p.shapes()...); err != nil {
		return nil, err
	}
	result, undo, err := p.add(r)
	if err != nil {
		return nil, err
	}
	out, err := cni.Print(result, r.Conf.CNIVersion)
	if err != nil {
		return nil, errors.Join(err, undo())
	}
	return out, nil
}
