package plugin

import (
	"fmt"
	"io"

	"github.com/catena-cni/catena/internal/cni"
	"github.com/catena-cni/catena/internal/ipam"
)

// IPAM is a plugin that gives addresses, as a program.
type IPAM struct{ ipam.Plugin }

func (p IPAM) title() string   { return p.Name }
func (p IPAM) needsName() bool { return true }
func (p IPAM) shapes() []any   { return p.Shapes() }

func (p IPAM) add(r *cni.Request) (*cni.Result, func() error, error) {
	result, err := p.Do(r)
	undo := func() error {
		r.Verb = cni.Del
		_, err := p.Do(r)
		return err
	}
	return result, undo, err
}

func (p IPAM) do(r *cni.Request) error {
	_, err := p.Do(r)
	return err
}

func (p IPAM) del(r *cni.Request) error    { return p.do(r) }
func (p IPAM) check(r *cni.Request) error  { return p.do(r) }
func (p IPAM) status(r *cni.Request) error { return p.do(r) }
func (p IPAM) gc(r *cni.Request) error     { return p.do(r) }

func (p IPAM) preview(r *cni.Request) (*cni.Result, error) { return p.Foresee(r) }

func (p IPAM) plan(r *cni.Request, w io.Writer) error {
	result, err := p.preview(r)
	if err != nil {
		return err
	}
	for _, ip := range result.IPs {
		fmt.Fprintf(w, "lease %v to %s\n", cni.Prefix(ip.Address), r.Attachment)
	}
	return nil
}

// delegates says that addresses are another plugin's matter.
func (p Plugin[C]) delegates(r *cni.Request) bool { return p.makesLink() && r.Conf.IPAM.Type != "" }

// delegate has the IPAM plugin do a verb, and gives the result of ADD. One that is
// part of this program is called where the one in CNI_PATH is of the same build,
// and so would do the same; any other is executed.
func (p Plugin[C]) delegate(r *cni.Request, verb string) (*cni.Result, error) {
	if !p.delegates(r) {
		return nil, nil
	}
	kind := r.Conf.IPAM.Type
	path, err := cni.Find(kind, r.Path)
	if err != nil {
		return nil, err
	}
	if p.Builtin != nil {
		if own, is := p.Builtin(kind, path); is {
			result, err := own.Builtin(r, verb)
			return result, cni.SaidBy(kind, err)
		}
	}
	out, err := r.Execute(path, verb)
	if err != nil || verb != cni.Add {
		return nil, err
	}
	return cni.ParseResult(kind, out, r.Conf.CNIVersion)
}
