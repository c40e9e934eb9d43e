package plugin

import (
	"fmt"
	"io"

	"github.com/catena-cni/catena/internal/cni"
)

// preview is what the result would be.
func (p Plugin[C]) preview(r *cni.Request) (*cni.Result, error) {
	call, _, err := p.foresee(r, io.Discard)
	return call.Result, err
}

func (p Plugin[C]) plan(r *cni.Request, w io.Writer) error {
	call, c, err := p.foresee(r, w)
	if err == nil {
		_, err = fmt.Fprint(w, p.want(call, c))
	}
	return err
}

// foresee is the call as ADD would have it. Addresses are asked for in a way that
// takes none.
func (p Plugin[C]) foresee(r *cni.Request, notes io.Writer) (Call, C, error) {
	call, c, err := p.Read(r)
	if err != nil {
		return call, c, err
	}
	if kind := r.Conf.IPAM.Type; call.Prev == nil && kind != "" && !p.Chained {
		out, err := r.Delegate(kind, "", "result")
		if err == nil && len(out) > 0 {
			call.Result, err = cni.ParseResult(kind, out, r.Conf.CNIVersion)
		}
		if err != nil {
			return call, c, err
		}
		if len(call.Result.IPs) == 0 {
			fmt.Fprintf(notes, "# IPAM %s does not say beforehand which addresses it gives\n", kind)
		}
	}
	return call, c, p.Finish(call, c)
}
