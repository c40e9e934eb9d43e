package plugin

import (
	"errors"
	"io/fs"

	"github.com/catena-cni/catena/internal/cni"
	"github.com/catena-cni/catena/internal/fact"
	"github.com/catena-cni/catena/internal/ipam"
	"github.com/catena-cni/catena/internal/kernel"
)

// Plugin is a name and pure functions from an attachment and its configuration
// C. A function that is nil has nothing to say.
type Plugin[C any] struct {
	Name string
	// Args are the keys of CNI_ARGS that the plugin knows.
	Args []string
	// Chained plugins work on what a plugin before them has made: they need a
	// prevResult and delegate to no IPAM.
	Chained bool
	// Renews plugins take back what a former ADD of the attachment has made, for
	// which nobody said DEL, once it is clear that a new one can be tried.
	Renews bool
	// HostOnly plugins never open the pod's namespace.
	HostOnly bool
	// AllowNoName plugins do not mind a configuration without a network's name.
	AllowNoName bool
	// Builtin is the IPAM plugin that is part of this one's program and does what
	// the program at a path would, if there is one.
	Builtin func(kind, path string) (ipam.Plugin, bool)
	// NeedsIPAM plugins cannot do without addresses.
	NeedsIPAM bool
	// MayChain plugins make an interface that may stand behind those of plugins
	// before them. Without IPAM the result is then theirs, with one more.
	MayChain bool
	// TakesAddresses plugins take over the addresses of such a result, in which
	// their interface is then the only one, as in upstream's.
	TakesAddresses bool

	// Validate holds the configuration against itself and merges the places
	// that a value can come from. DEL does without it where it fails.
	Validate func(*Call, *C) error
	// MTU is the MTU that the configuration asks for, or 0 or link.AutoMTU.
	MTU func(C) int
	// Complete makes IPAM's or the previous result the attachment's own: its
	// interfaces, gateways and routes. Hardware addresses are filled in later. Where
	// it is nil, a plugin that makes an interface adds that.
	Complete func(Call, C) error
	// Report adds to the result what only the kernel can tell, once the facts are
	// true.
	Report func(*kernel.Kernel, Call) error
	// Want lists the facts. On DEL it knows the attachment alone.
	Want func(Call, C) fact.Plan
	// Ready looks whether an ADD could succeed now.
	Ready func(*kernel.Kernel, C) error
	// Traces lists the attachments that have something on the host, for GC.
	Traces func(*Traces, *kernel.Kernel, C)
	// Collect is GC for what no trace speaks of, and for what upstream's plugin of
	// that name has left.
	Collect func(*kernel.Kernel, GC, C) error
}

func (p Plugin[C]) title() string { return p.Name }

func (p Plugin[C]) shapes() []any { return []any{new(C)} }

func (p Plugin[C]) needsName() bool { return !p.AllowNoName }

// Read decodes and validates the plugin's own configuration. What it could read it
// gives beside an error, for a DEL.
func (p Plugin[C]) Read(r *cni.Request) (call Call, c C, err error) {
	call = Call{Attachment: r.Attachment, Netns: r.Netns, Result: cni.NewResult(), IPAM: r.Conf.IPAM.Type}
	call.Args, err = cni.ParseArgs(r.Args, p.Args...)
	if p.Args == nil {
		err = nil // a plugin that looks at no arguments minds none
	}
	prev, perr := r.PrevResult()
	call.Prev, call.takesAddresses = prev, p.TakesAddresses
	if prev != nil {
		call.Result = prev
	}
	err = errors.Join(err, perr, r.Doc.Read(&c))
	if err == nil && p.Validate != nil {
		err = cni.WithCode(cni.CodeConfig, p.Validate(&call, &c))
	}
	if err == nil && p.MTU != nil {
		err = cni.WithCode(cni.CodeConfig, checkMTU(p.MTU(c)))
	}
	return call, c, err
}

func (p Plugin[C]) want(call Call, c C) fact.Plan {
	if p.Want == nil {
		return nil
	}
	return p.Want(call, c)
}

// Finish makes the result the attachment's own, as Complete says.
func (p Plugin[C]) Finish(call Call, c C) (err error) {
	switch {
	case p.Complete != nil:
		err = p.Complete(call, c)
	case p.makesLink():
		call.AddInterface()
	}
	if err == nil && p.MTU != nil {
		err = call.fits(p.MTU(c))
	}
	return cni.WithCode(cni.CodeConfig, err)
}

// open opens the kernel for a verb that needs the pod.
func (p Plugin[C]) open(netns string) (*kernel.Kernel, error) {
	if p.HostOnly {
		return kernel.OpenHost(netns), nil
	}
	k, err := kernel.Open(netns)
	if err != nil {
		return nil, cni.WithCode(cni.CodeEnvironment, err)
	}
	if !k.Has(kernel.Pod) {
		k.Close()
		err := cni.Errorf(cni.CodeMissing, "network namespace %s: there is none: %w", netns, fs.ErrNotExist)
		return nil, cni.Hint(err, "CNI_NETNS is to be the path of the container's network namespace")
	}
	return k, nil
}

// makesLink says that the plugin is at the head of an attachment's chain, or
// could be: it makes the interface and asks for its addresses.
func (p Plugin[C]) makesLink() bool { return !p.Chained && !p.AllowNoName }
