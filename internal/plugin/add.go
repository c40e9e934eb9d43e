package plugin

import (
	"errors"
	"fmt"
	"slices"

	"github.com/catena-cni/catena/internal/cni"
	"github.com/catena-cni/catena/internal/fact"
	"github.com/catena-cni/catena/internal/fact/link"
	"github.com/catena-cni/catena/internal/kernel"
)

func (p Plugin[C]) add(r *cni.Request) (*cni.Result, func() error, error) {
	call, c, err := p.Read(r)
	if err != nil {
		return nil, nil, err
	}
	k, err := p.open(r.Netns)
	if err != nil {
		return nil, nil, err
	}
	undo, err := p.attach(r, k, &call, c)
	if err != nil {
		k.Close()
		return nil, nil, err
	}
	return call.Result, func() error { defer k.Close(); return undo() }, nil
}

// attach is ADD. Where it fails, it has taken everything back; where it does
// not, it returns what would.
func (p Plugin[C]) attach(r *cni.Request, k *kernel.Kernel, call *Call, c C) (_ func() error, err error) {
	var made fact.Plan
	release := func() error { return nil }
	undo := func() error {
		k.Renew()
		return errors.Join(made.Del(k), release())
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, undo())
		}
	}()
	if p.makesLink() {
		if err := p.vacate(r, k, *call, c); err != nil {
			return nil, err
		}
	}
	bare, err := p.linkBeforeIPAM(r, k, *call, c)
	if err != nil {
		return nil, err
	}
	made = bare
	if release, err = p.addresses(r, call); err != nil {
		return nil, err
	}
	var former fact.Plan
	if p.Renews {
		former = p.want(*call, c) // as DEL sees it
	}
	if err := p.Finish(*call, c); err != nil {
		return nil, err
	}
	if err := renew(former, k); err != nil {
		return nil, err
	}
	facts := p.want(*call, c).Without(bare)
	if err := facts.Add(k); err != nil {
		return nil, err
	}
	made = append(bare, facts...)
	if err := p.fillIn(k, r, call); err != nil || p.Report == nil {
		return undo, err
	}
	return undo, p.Report(k, *call)
}

// vacate has no interface be in the way of the pod's, before an address is asked
// for: the release that would follow a failure would take the address of the
// attachment that is there. One that is provably the attachment's own, and of
// which libcni keeps no result, is of an ADD that did not come to its end, and
// goes as by DEL.
func (p Plugin[C]) vacate(r *cni.Request, k *kernel.Kernel, call Call, c C) error {
	err := link.Free(k, r.IfName)
	if !cni.IsTaken(err) || cni.KeptOf(call.Attachment).Result != nil {
		return err
	}
	call.evidence(r).Verify(k)
	defer k.Verify(nil)
	former := p.want(call, c)
	made, merr := former.Made(k)
	if l, lerr := k.Link(kernel.Pod, r.IfName); merr != nil || lerr != nil || !made && !k.Owned(l) {
		return errors.Join(err, merr, lerr)
	}
	err = former.Del(k)
	_, rerr := p.delegate(r, cni.Del)
	if err = errors.Join(err, rerr); err != nil {
		return fmt.Errorf("what an unfinished ADD of the attachment has made stays: %w", err)
	}
	return nil
}

// renew is DEL where a former ADD has made something.
func renew(former fact.Plan, k *kernel.Kernel) error {
	made, err := former.Made(k)
	if err == nil && made {
		err = former.Del(k)
	}
	if err != nil {
		return fmt.Errorf("what a former ADD of the attachment has made stays: %w", err)
	}
	return nil
}

// offlineIPAM are the IPAM plugins that do not look at the pod. Any other may speak
// over its interface, as dhcp does, and is asked when that is there and up.
var offlineIPAM = []string{"", "host-local", "static"}

// linkBeforeIPAM makes true what the plan has without addresses, before an IPAM plugin
// is asked that needs it.
func (p Plugin[C]) linkBeforeIPAM(r *cni.Request, k *kernel.Kernel, call Call, c C) (fact.Plan, error) {
	if !p.makesLink() || slices.Contains(offlineIPAM, r.Conf.IPAM.Type) {
		return nil, nil
	}
	if _, err := cni.Find(r.Conf.IPAM.Type, r.Path); err != nil {
		return nil, err
	}
	call.Result = cni.NewResult()
	if err := p.Finish(call, c); err != nil {
		return nil, err
	}
	bare := p.want(call, c)
	err := bare.Add(k)
	k.Invalidate(kernel.Pod, r.IfName) // whose MTU the IPAM plugin may set
	return bare, err
}

// addresses asks for the result to start from, and gives what takes it back, also
// where it fails: the caller's link goes before an address that it may have.
func (p Plugin[C]) addresses(r *cni.Request, call *Call) (release func() error, err error) {
	nothing := func() error { return nil }
	if p.Chained && call.Prev == nil {
		err = cni.Errorf(cni.CodeConfig, "%s works on what another plugin has made: it must come after one in a chain, and there is no prevResult", p.Name)
		return nothing, cni.Hint(err, fmt.Sprintf("in the list of plugins put %s behind one that makes an interface, such as bridge", p.Name))
	}
	if !p.makesLink() {
		return nothing, nil
	}
	if r.Conf.IPAM.Type == "" {
		if p.NeedsIPAM {
			err = cni.Errorf(cni.CodeConfig, "%s needs addresses: ipam.type is missing", p.Name)
		}
		if !p.MayChain {
			call.Result = cni.NewResult()
		}
		if !p.TakesAddresses {
			call.inherited = len(call.Result.Interfaces)
		}
		return nothing, err
	}
	release = func() error {
		_, err := p.delegate(r, cni.Del)
		return err
	}
	result, err := p.delegate(r, cni.Add)
	switch {
	case err != nil && cni.AsError(err).Code == cni.CodeExists:
		// The attachment has an address from before, in a namespace that is
		// alive: to give that one back would be worse than to keep it.
		return nothing, err
	case err != nil:
		return release, err
	case len(result.IPs) == 0:
		return release, cni.Errorf(cni.CodeConfig, "IPAM %s gave no address", r.Conf.IPAM.Type)
	}
	call.Result = result
	if !r.Conf.DNS.IsEmpty() { // it takes the place of IPAM's
		call.Result.DNS = r.Conf.DNS
	}
	return release, nil
}

// fillIn reports the hardware addresses, and from version 1.1.0 on the MTUs, of
// the interfaces that the plan has made or found. Most are remembered from that.
func (p Plugin[C]) fillIn(k *kernel.Kernel, r *cni.Request, call *Call) error {
	if p.Chained || p.AllowNoName && call.Prev != nil || call.NoNetdev {
		return nil // they are not its own, or not there to be looked at
	}
	withMTU := cni.AtLeast(r.Conf.CNIVersion, "1.1.0")
	for _, i := range call.Result.Interfaces[call.inherited:] {
		if i.Mac != "" && !withMTU {
			continue
		}
		side := kernel.Host
		if i.Sandbox != "" {
			side = kernel.Pod
		}
		l, err := k.Link(side, i.Name)
		if err != nil {
			return err
		}
		if i.Mac == "" {
			i.Mac = l.MAC.String()
		}
		if withMTU {
			i.Mtu = l.MTU
		}
	}
	return nil
}
