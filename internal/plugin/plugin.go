package plugin

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"slices"

	"github.com/catena-cni/catena/internal/cni"
	"github.com/catena-cni/catena/internal/fact"
	"github.com/catena-cni/catena/internal/fact/link"
	"github.com/catena-cni/catena/internal/ipam"
	"github.com/catena-cni/catena/internal/kernel"
	"github.com/catena-cni/catena/internal/state/name"
)

// Call is one call of a plugin: what its functions know of the attachment.
type Call struct {
	name.Attachment
	// Netns is the path of the pod's network namespace. It may be empty.
	Netns string
	// Result is what is known of the pod's network: IPAM's result, or that of
	// the plugins before this one. On DEL there may be none; then it is empty.
	Result *cni.Result
	// Prev is the result of the plugins before this one, nil where there is none.
	Prev *cni.Result
	// Args are the pairs of CNI_ARGS.
	Args map[string]string
	// IPAM is the type of the plugin that addresses are delegated to, if any.
	IPAM string
	// NoNetdev says that the kernel has no link behind the result's interface, as
	// where a driver in user space has the device.
	NoNetdev bool

	takesAddresses bool
	// inherited is how many interfaces of the result are of plugins before.
	inherited int
}

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
	// Builtin are the IPAM plugins that are part of this one's program.
	Builtin []ipam.Plugin
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
	// interfaces, gateways and routes. Hardware addresses are filled in later.
	Complete func(Call, C) error
	// Report adds to the result what only the kernel can tell, once the facts are
	// true.
	Report func(*kernel.Kernel, Call) error
	// Want lists the facts. On DEL it knows the attachment alone.
	Want func(Call, C) fact.Plan
	// Ready looks whether an ADD could succeed now.
	Ready func(*kernel.Kernel, C) error
	// Traces lists the attachments that have something on the host, for GC.
	Traces func(*kernel.Kernel, C) (Traces, error)
	// Collect is GC for what no trace speaks of, and for what upstream's plugin of
	// that name has left.
	Collect func(*kernel.Kernel, GC, C) error
}

// Traces are attachments that have something on the host. An attachment may be
// there more than once.
type Traces struct {
	All []name.Attachment
	// Gone are those whose pods are provably gone by a record, whatever network
	// they are of.
	Gone []name.Attachment
}

// GC is what the runtime says of a network.
type GC struct {
	Network string
	Valid   []name.Attachment
}

// Keeps reports whether a comment is that of a valid attachment.
func (gc GC) Keeps(comment string) bool {
	return slices.ContainsFunc(gc.Valid, func(v name.Attachment) bool { return v.Comment() == comment })
}

func (p Plugin[C]) title() string   { return p.Name }
func (p Plugin[C]) shapes() []any   { return []any{new(C)} }
func (p Plugin[C]) needsName() bool { return !p.AllowNoName }

// read decodes and validates the plugin's own configuration.
func (p Plugin[C]) read(r *cni.Request) (call Call, c C, err error) {
	call = Call{Attachment: r.Attachment, Netns: r.Netns, Result: cni.NewResult(), IPAM: r.Conf.IPAM.Type}
	call.Args, err = cni.ParseArgs(r.Args, p.Args...)
	if p.Args == nil {
		err = nil // a plugin that looks at no arguments minds none
	}
	prev, perr := r.PrevResult()
	call.Prev, call.takesAddresses = prev, p.TakesAddresses
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

func (p Plugin[C]) complete(call Call, c C) (err error) {
	if p.Complete != nil {
		err = p.Complete(call, c)
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

func (p Plugin[C]) add(r *cni.Request) (*cni.Result, func() error, error) {
	call, c, err := p.read(r)
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
func (p Plugin[C]) attach(r *cni.Request, k *kernel.Kernel, call *Call, c C) (undo func() error, err error) {
	if p.makesLink() {
		// Before an address is asked for: the release that would follow a failure
		// would take the address of the attachment that is there.
		if err := link.Free(k, kernel.Pod, r.IfName); err != nil {
			return nil, err
		}
	}
	bare, err := p.linkBeforeIPAM(r, k, *call, c)
	if err != nil {
		return nil, err
	}
	release, err := p.addresses(r, call)
	if err != nil {
		return nil, errors.Join(err, bare.Del(k), release())
	}
	var former fact.Plan
	if p.Renews {
		former = p.want(*call, c) // as DEL sees it
	}
	if err = p.complete(*call, c); err == nil {
		err = renew(former, k)
	}
	if err != nil {
		return nil, errors.Join(err, bare.Del(k), release())
	}
	facts := p.want(*call, c).Without(bare)
	if err := facts.Add(k); err != nil {
		return nil, errors.Join(err, bare.Del(k), release())
	}
	facts = append(bare, facts...)
	undo = func() error { return errors.Join(facts.Del(k), release()) }
	err = p.fillIn(k, r, call)
	if err == nil && p.Report != nil {
		err = p.Report(k, *call)
	}
	if err != nil {
		return nil, errors.Join(err, undo())
	}
	return undo, nil
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

// makesLink says that the plugin is at the head of an attachment's chain, or
// could be: it makes the interface and asks for its addresses.
func (p Plugin[C]) makesLink() bool { return !p.Chained && !p.AllowNoName }

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
	if err := p.complete(call, c); err != nil {
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
	if p.Chained {
		if call.Prev == nil {
			err = cni.Errorf(cni.CodeConfig, "%s works on what another plugin has made: it must come after one in a chain, and there is no prevResult", p.Name)
			err = cni.Hint(err, fmt.Sprintf("in the list of plugins put %s behind one that makes an interface, such as bridge", p.Name))
		}
		call.Result = call.Prev
		return nothing, err
	}
	if p.AllowNoName {
		if call.Prev != nil {
			call.Result = call.Prev
		}
		return nothing, nil
	}
	if r.Conf.IPAM.Type == "" {
		if p.MayChain && call.Prev != nil {
			call.Result = call.Prev
			if !p.TakesAddresses {
				call.inherited = len(call.Prev.Interfaces)
			}
		}
		return nothing, p.withoutIPAM()
	}
	release = func() error {
		_, err := p.delegate(r, cni.Del)
		return err
	}
	result, err := p.delegate(r, cni.Add)
	if err != nil && cni.AsError(err).Code == cni.CodeExists {
		// The attachment has an address from before, in a namespace that is
		// alive: to give that one back would be worse than to keep it.
		return nothing, err
	}
	if err == nil {
		call.Result = result
	}
	if err == nil && len(call.Result.IPs) == 0 {
		err = cni.Errorf(cni.CodeConfig, "IPAM %s gave no address", r.Conf.IPAM.Type)
	}
	if err != nil {
		return release, err
	}
	p.dns(r, call)
	return release, nil
}

func (p Plugin[C]) withoutIPAM() error {
	if p.NeedsIPAM {
		return cni.Errorf(cni.CodeConfig, "%s needs addresses: ipam.type is missing", p.Name)
	}
	return nil
}

// dns puts the configuration's name servers in the place of IPAM's.
func (p Plugin[C]) dns(r *cni.Request, call *Call) {
	d := r.Conf.DNS
	if d.Nameservers != nil || d.Domain != "" || d.Search != nil || d.Options != nil {
		call.Result.DNS = d
	}
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

func (p Plugin[C]) del(r *cni.Request) error {
	// What is wrong with the configuration is not what DEL is about.
	call, c, _ := p.read(r)
	if call.Prev != nil {
		call.Result = call.Prev
	}
	k := p.openForDel(r.Netns)
	defer k.Close()
	call.evidence(r).Verify(k)
	err := p.want(call, c).Del(k)
	_, derr := p.delegate(r, cni.Del)
	return errors.Join(err, derr)
}

// openForDel takes a pod whose namespace cannot be opened as gone.
func (p Plugin[C]) openForDel(netns string) *kernel.Kernel {
	if p.HostOnly {
		return kernel.OpenHost(netns)
	}
	k, err := kernel.Open(netns)
	if err != nil {
		fmt.Fprintf(os.Stderr, "catena %s: %v: it is taken as gone\n", p.Name, err)
		return kernel.OpenHost("")
	}
	return k
}

func (p Plugin[C]) check(r *cni.Request) error {
	call, c, err := p.read(r)
	if err != nil {
		return err
	}
	if call.Prev == nil && !p.AllowNoName {
		return cni.ErrNoPrevResult
	}
	if call.Prev != nil {
		call.Result = call.Prev
	}
	k, err := p.open(r.Netns)
	if err != nil {
		return err
	}
	defer k.Close()
	err = p.want(call, c).Check(k)
	if err == nil {
		err = p.asReported(k, call)
	}
	_, derr := p.delegate(r, cni.Check)
	return errors.Join(cni.WithCode(cni.CodeDrift, err), derr)
}

// asReported compares the hardware addresses of the result's interfaces, as they
// were when the chain had ended. That of a bridge is its plugin's matter, and one
// that is missing a fact's.
func (p Plugin[C]) asReported(k *kernel.Kernel, call Call) error {
	if !p.makesLink() || call.NoNetdev {
		return nil
	}
	var errs []error
	for _, i := range call.Result.Interfaces {
		side := kernel.Host
		if call.Own(i) {
			side = kernel.Pod
		}
		want, err := net.ParseMAC(i.Mac)
		if err != nil || side == kernel.Host && i.Sandbox != "" {
			continue
		}
		l, err := k.Link(side, i.Name)
		if err == nil && l.Kind != "bridge" && !bytes.Equal(l.MAC, want) {
			errs = append(errs, fmt.Errorf("%v's %s has the hardware address %v, and the result says %v", side, i.Name, l.MAC, want))
		}
	}
	return errors.Join(errs...)
}

func (p Plugin[C]) status(r *cni.Request) error {
	_, c, err := p.read(r)
	if err != nil {
		return err
	}
	k, err := kernel.Open("")
	if err != nil {
		return err
	}
	defer k.Close()
	if p.Ready != nil {
		err = p.Ready(k, c)
	}
	_, derr := p.delegate(r, cni.Status)
	return cni.WithCode(cni.CodeNotReady, errors.Join(err, derr))
}

// gc is DEL for every attachment of the network that left something and is not
// valid any more. Their pods may be taken as gone.
func (p Plugin[C]) gc(r *cni.Request, valid []name.Attachment) error {
	_, c, _ := p.read(r)
	k, err := kernel.Open("")
	if err != nil {
		return err
	}
	defer k.Close()
	traces, err := p.traces(k, c)
	stale := slices.DeleteFunc(traces.All, func(a name.Attachment) bool { return slices.Contains(valid, a) })
	errs := []error{err, p.undo(k, r.Network, stale, c)}
	if p.Collect != nil {
		errs = append(errs, p.Collect(k, GC{r.Network, valid}, c))
	}
	_, err = p.delegate(r, cni.GC)
	return errors.Join(append(errs, err)...)
}

func (p Plugin[C]) traces(k *kernel.Kernel, c C) (Traces, error) {
	if p.Traces == nil {
		return Traces{}, nil
	}
	return p.Traces(k, c)
}

// undo is DEL for attachments of a network whose pods may be taken as gone.
func (p Plugin[C]) undo(k *kernel.Kernel, network string, stale []name.Attachment, c C) error {
	var plans []fact.Plan
	for _, stale := range unique(stale) {
		if stale.Network == network {
			plans = append(plans, p.want(Call{Attachment: stale, Result: cni.NewResult()}, c))
		}
	}
	return fact.DelAll(k, plans)
}

// gcDead is GC where nobody says who is valid: only what is provably gone goes,
// by the namespace that a record names, or else by the one that libcni remembers.
// What upstream's plugins have left does not say that, and stays.
func (p Plugin[C]) gcDead(r *cni.Request) error {
	_, c, _ := p.read(r)
	k, err := kernel.Open("")
	if err != nil {
		return err
	}
	defer k.Close()
	traces, err := p.traces(k, c)
	gone := append(traces.Gone, slices.DeleteFunc(traces.All, func(a name.Attachment) bool { return !departed(a) })...)
	_, derr := p.delegate(r, cni.GC)
	return errors.Join(err, p.undo(k, r.Network, gone, c), derr)
}

// departed reports whether libcni keeps a result of the attachment whose network
// namespace is not there any more.
func departed(at name.Attachment) bool {
	path := cni.KeptOf(at).Netns
	if path == "" {
		return false
	}
	id, err := kernel.LookNetns(path)
	return err == nil && id == kernel.NetnsID{}
}

// unique leaves out what was there before.
func unique(all []name.Attachment) (out []name.Attachment) {
	for _, a := range all {
		if !slices.Contains(out, a) {
			out = append(out, a)
		}
	}
	return out
}

// preview is what the result would be. Addresses are asked for in a way that
// takes none.
func (p Plugin[C]) preview(r *cni.Request) (*cni.Result, error) {
	call, c, err := p.foresee(r, io.Discard)
	if err != nil {
		return nil, err
	}
	return call.Result, p.complete(call, c)
}

func (p Plugin[C]) foresee(r *cni.Request, notes io.Writer) (Call, C, error) {
	call, c, err := p.read(r)
	if err != nil {
		return call, c, err
	}
	switch {
	case call.Prev != nil:
		call.Result = call.Prev
	case r.Conf.IPAM.Type != "" && !p.Chained:
		out, err := r.Ask(r.Conf.IPAM.Type, "result")
		if err == nil && len(out) > 0 {
			call.Result, err = cni.ParseResult(r.Conf.IPAM.Type, out, r.Conf.CNIVersion)
		}
		if err != nil {
			return call, c, err
		}
		if len(call.Result.IPs) == 0 {
			fmt.Fprintf(notes, "# IPAM %s does not say beforehand which addresses it gives\n", r.Conf.IPAM.Type)
		}
	}
	return call, c, nil
}

func (p Plugin[C]) plan(r *cni.Request, w io.Writer) error {
	call, c, err := p.foresee(r, w)
	if err != nil {
		return err
	}
	if err := p.complete(call, c); err != nil {
		return err
	}
	_, err = fmt.Fprint(w, p.want(call, c))
	return err
}
