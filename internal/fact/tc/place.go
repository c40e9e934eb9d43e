package tc

import (
	"errors"
	"fmt"
	"io/fs"

	"github.com/catena-cni/catena/internal/cni"
	"github.com/catena-cni/catena/internal/kernel"
	"github.com/catena-cni/catena/internal/state/name"
)

// Place is a link that packets are shaped on.
type Place interface {
	// text is the link for people.
	text() string
	// find gives the link; a missing one is fs.ErrNotExist.
	find(*kernel.Kernel) (target, error)
}

// target is a link that was found.
type target struct {
	k    *kernel.Kernel
	side kernel.Side
	link *kernel.Link
}

// errNoVeth: there is no end on the host.
var errNoVeth = errors.New("no veth, so that nothing on the host is its own to shape")

// HostEnd is the host's end of the pair of links (veth) whose other end is the
// attachment's interface in the pod, whatever plugin has made it.
type HostEnd struct{ Owner name.Attachment }

func (h HostEnd) text() string { return "host's end of " + h.Owner.IfName }

// find asks the pod's end for the host's. Where the pod is gone, the host's end
// is gone with it, or it has the name that this suite gives it.
func (h HostEnd) find(k *kernel.Kernel) (target, error) {
	if !k.Has(kernel.Pod) {
		return h.byName(k)
	}
	t := target{k: k, side: kernel.Host}
	pod, err := k.Link(kernel.Pod, h.Owner.IfName)
	if err != nil {
		return t, err
	}
	if pod.Kind != "veth" {
		err := fmt.Errorf("interface %s of the pod is %w", pod.Name, errNoVeth)
		return t, cni.Hint(err, `egress alone can be limited on any interface, with "egressShaper": "pod"`)
	}
	t.link, err = k.LinkAt(kernel.Host, pod.Parent)
	if err == nil && (t.link.Kind != "veth" || t.link.Parent != pod.Index) {
		err = fs.ErrNotExist
	}
	if err != nil {
		return t, fmt.Errorf("the other end of %s is not on the host: %w", pod.Name, err)
	}
	// A pod may choose the numbers of its links so that they seem to be paired
	// with another pod's.
	if owner, err := name.Parse(t.link.Alias); err == nil && owner != h.Owner {
		return t, fmt.Errorf("the other end of %s, %s, is %v's by its alias: %w", pod.Name, t.link.Name, owner, fs.ErrNotExist)
	}
	if !k.Trusted() {
		// What comes from the attachment's pod goes to the attachment's IFB.
		if ifb, err := (IFB{Owner: h.Owner}).Find(k); err == nil {
			if led, err := t.redirects(ifb); led && err == nil {
				k.MarkOwned(pod)
			}
		}
	}
	if !k.Owned(pod) {
		return h.byName(k)
	}
	return t, nil
}

func (h HostEnd) byName(k *kernel.Kernel) (target, error) {
	l, err := k.Link(kernel.Host, h.Owner.HostLink())
	return target{k: k, side: kernel.Host, link: l}, err
}

// PodEnd is the attachment's interface in the pod.
type PodEnd struct{ IfName string }

func (p PodEnd) text() string { return "pod's " + p.IfName }

func (p PodEnd) find(k *kernel.Kernel) (target, error) {
	t := target{k: k, side: kernel.Pod}
	if !k.Has(kernel.Pod) {
		return t, kernel.ErrNoPod
	}
	var err error
	t.link, err = k.Link(kernel.Pod, p.IfName)
	if err == nil && !k.Owned(t.link) {
		err = fmt.Errorf("the pod's %s is another pod's: %w", p.IfName, fs.ErrNotExist)
	}
	return t, err
}
