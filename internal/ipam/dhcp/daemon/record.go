package daemon

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"

	"github.com/catena-cni/catena/internal/cni"
	"github.com/catena-cni/catena/internal/ipam/dhcp/client"
	"github.com/catena-cni/catena/internal/kernel"
	"github.com/catena-cni/catena/internal/state"
	"github.com/catena-cni/catena/internal/state/name"
)

// Record is what the daemon keeps of an attachment on disk, as JSON, in a file
// that is named by the attachment's key. With it a daemon that starts goes on
// with the leases, or gives them back where the pod has gone meanwhile.
type Record struct {
	Args Args `json:"args"` // as the plugin handed them over
	// Conf is the configuration among them.
	Conf json.RawMessage `json:"conf"`
	// Boot and NetnsID tell the pod's namespace from another that was mounted on
	// the same path later, and Segment has the interface's number, which tells it
	// from another of its name. MAC is the address that it had last.
	Boot    string         `json:"boot"`
	NetnsID kernel.NetnsID `json:"netnsID"`
	MAC     client.MAC     `json:"mac"`
	Segment client.Segment `json:"segment"`
	// Leases are by family, and so is Applied: what of them the interface has.
	Leases  map[string]*client.Lease `json:"leases"`
	Applied map[string]*client.Lease `json:"applied,omitempty"`
}

// open opens the kernel as far as the pod is still the one that the leases are
// for: without the pod's side where its namespace has gone.
func (r *Record) open() (*kernel.Kernel, error) {
	boot, err := kernel.BootID()
	if err != nil {
		return nil, err
	}
	id, err := kernel.LookNetns(r.Args.Netns)
	if err != nil {
		return nil, err
	}
	if r.Boot != boot || id != r.NetnsID {
		return kernel.OpenHost(r.Args.Netns), nil
	}
	return kernel.Open(r.Args.Netns)
}

// gone reports whether the pod's namespace is provably not there any more.
func (r *Record) gone() bool {
	k, err := r.open()
	if err != nil {
		return false
	}
	defer k.Close()
	return !k.Has(kernel.Pod)
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
	if !k.Has(kernel.Pod) {
		return nil, nil, fmt.Errorf("%w: its namespace %s is not there", errGone, r.Args.Netns)
	}
	l, err := k.Link(kernel.Pod, r.Args.IfName)
	switch {
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
	ip := &cni.IPConfig{Address: cni.IPNet(l.Address)}
	if l.Gateway.IsValid() {
		ip.Gateway = l.Gateway.AsSlice()
	}
	r.IPs = append(r.IPs, ip)
	for _, route := range l.Routes {
		out := &cni.Route{Dst: cni.IPNet(route.Dst), Priority: priority}
		if route.Via.IsValid() {
			out.GW = route.Via.AsSlice()
		} else {
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

// records are all records, in a folder.
type records struct{ state.Folder }

func (f records) save(at name.Attachment, r *Record) error {
	text, err := json.MarshalIndent(r, "", "\t")
	if err == nil {
		err = f.Replace(at.Key(), append(text, '\n'))
	}
	if err != nil {
		return fmt.Errorf("keep the lease of %s: %w", at, err)
	}
	return nil
}

// load reads every record. Files that are none are told of, and left alone.
func (f records) load() (map[name.Attachment]*Record, error) {
	keys, err := f.Keys()
	if err != nil {
		return nil, fmt.Errorf("read the leases in %s: %w", f.Folder, err)
	}
	out := map[name.Attachment]*Record{}
	var errs []error
	for _, key := range keys {
		text, err := f.Read(key)
		r := &Record{}
		if err == nil {
			err = json.Unmarshal(text, r)
			r.Args.StdinData = r.Conf
			if r.Applied == nil {
				r.Applied = map[string]*client.Lease{}
			}
		}
		var at name.Attachment
		if err == nil {
			at, _, err = r.Args.read()
		}
		if err == nil && at.Key() != key {
			err = fmt.Errorf("it is the record of %s, under another one's name", at)
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("%s/%s is no record of a lease, and left alone: %w", f.Folder, key, err))
			continue
		}
		out[at] = r
	}
	return out, errors.Join(errs...)
}
