package daemon

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"

	"github.com/catena-cni/catena/internal/cni"
	"github.com/catena-cni/catena/internal/cni/conf"
	"github.com/catena-cni/catena/internal/ipam/dhcp/client"
	"github.com/catena-cni/catena/internal/kernel"
	"github.com/catena-cni/catena/internal/state/name"
)

// Args are what the plugin hands over, as upstream's does (its skel.CmdArgs).
type Args struct {
	ContainerID   string          `json:"containerID"`
	Netns         string          `json:"netns"`
	IfName        string          `json:"ifName"`
	Args          string          `json:"args,omitempty"`
	Path          string          `json:"-"`
	NetnsOverride string          `json:"-"`
	StdinData     json.RawMessage `json:"conf"`
}

// read is the attachment and its configuration. Whoever may write to the socket
// is not trusted with more than that.
func (a Args) read() (at name.Attachment, c Conf, err error) {
	args, _ := cni.ParseArgs(a.Args)
	if err = conf.Read(a.StdinData, &c); err == nil {
		err = c.Validate(args)
	}
	at = name.Attachment{Network: c.Name, ContainerID: a.ContainerID, IfName: a.IfName}
	return at, c, errors.Join(err, cni.CheckAttachment(at))
}

// Record is what the daemon keeps of an attachment on disk. With it a daemon that
// starts goes on with the leases, or releases them where the pod is gone.
type Record struct {
	Args Args `json:"args"`
	netnsOfBoot
	// Segment has the interface's number, which tells it from another of its name.
	Segment client.Segment `json:"segment"`
	// Leases are by family, and so is Applied: what of them the interface has.
	Leases  map[string]*client.Lease `json:"leases"`
	Applied map[string]*client.Lease `json:"applied"`
}

// netnsOfBoot tells a pod's namespace from another that was mounted on the same
// path later.
type netnsOfBoot struct {
	Boot    string         `json:"boot"`
	NetnsID kernel.NetnsID `json:"netnsID"`
}

func netnsAt(path string) (n netnsOfBoot, err error) {
	if n.Boot, err = kernel.BootID(); err == nil {
		n.NetnsID, err = kernel.LookNetns(path)
	}
	return n, err
}

// newRecord is the record of a pod that has no lease yet.
func newRecord(a Args) (*Record, error) {
	r := &Record{Args: a, Leases: map[string]*client.Lease{}, Applied: map[string]*client.Lease{}}
	var err error
	if r.netnsOfBoot, err = netnsAt(a.Netns); err != nil {
		return nil, err
	}
	k, err := kernel.Open(a.Netns)
	if err != nil {
		return nil, err
	}
	defer k.Close()
	if !k.Has(kernel.Pod) {
		return nil, fmt.Errorf("network namespace %s: there is none: %w", a.Netns, fs.ErrNotExist)
	}
	l, err := k.Link(kernel.Pod, a.IfName)
	if err != nil {
		return nil, err
	}
	r.Segment, err = client.SegmentOf(k, l)
	return r, err
}

// UnmarshalJSON refuses what is no record.
func (r *Record) UnmarshalJSON(text []byte) error {
	type plain Record
	if err := json.Unmarshal(text, (*plain)(r)); err != nil {
		return err
	}
	if r.Leases == nil || r.Applied == nil {
		return errors.New("it has no leases")
	}
	_, _, err := r.Args.read()
	return err
}

// Of is state.Record's.
func (r *Record) Of() name.Attachment {
	if r == nil {
		return name.Attachment{} // a file that says null
	}
	at, _, _ := r.Args.read()
	return at
}

// Abandoned reports whether the pod's namespace is provably gone.
func (r *Record) Abandoned() bool {
	now, err := netnsAt(r.Args.Netns)
	return err == nil && now != r.netnsOfBoot
}

// open opens the kernel, without the pod's side where the namespace is gone.
func (r *Record) open() (*kernel.Kernel, error) {
	if r.Abandoned() {
		return kernel.OpenHost(r.Args.Netns), nil
	}
	return kernel.Open(r.Args.Netns)
}

// errGone is in errors that say that the pod, or its interface, is not there any
// more.
var errGone = errors.New("the pod has gone")

// openPod is open where the pod must be there with its interface.
func (r *Record) openPod() (*kernel.Kernel, *kernel.Link, error) {
	k, err := r.open()
	if err != nil {
		return nil, nil, err
	}
	l, err := k.Link(kernel.Pod, r.Args.IfName)
	switch {
	case !k.Has(kernel.Pod):
		err = fmt.Errorf("%w: its namespace %s is not there", errGone, r.Args.Netns)
	case errors.Is(err, fs.ErrNotExist):
		err = fmt.Errorf("%w: %w", errGone, err)
	case err == nil && l.Index != r.Segment.Index:
		err = fmt.Errorf("%w: there is another %s", errGone, l.Name)
	}
	if err != nil {
		k.Close()
		return nil, nil, err
	}
	return k, l, nil
}

// result is what the leases are for the pod.
func (r *Record) result(priority int) *cni.Result {
	out := cni.NewResult()
	for _, family := range []string{four, six} {
		if l := r.Leases[family]; l != nil {
			add(out, l, priority)
		}
	}
	return out
}

// add puts a lease into a result.
func add(r *cni.Result, l *client.Lease, priority int) {
	r.IPs = append(r.IPs, &cni.IPConfig{Address: cni.IPNet(l.Address), Gateway: l.Gateway.AsSlice()})
	for _, route := range l.Routes {
		out := &cni.Route{Dst: cni.IPNet(route.Dst), GW: route.Via.AsSlice(), Priority: priority}
		if !route.Via.IsValid() {
			onLink := 253 // RT_SCOPE_LINK
			out.Scope = &onLink
		}
		r.Routes = append(r.Routes, out)
	}
	for _, a := range l.DNS {
		r.DNS.Nameservers = append(r.DNS.Nameservers, a.String())
	}
	if r.DNS.Domain == "" {
		r.DNS.Domain = l.Domain
	}
	r.DNS.Search = append(r.DNS.Search, l.Search...)
}
