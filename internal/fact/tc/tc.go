// Package tc is the facts about traffic control (tc(8)) that hold a pod to its
// bandwidth: the shapers, the queues under them, and the filters that lead
// packets to a shaper or past it.
//
// What goes to the pod is shaped where the host's end of its link sends:
//
//	root  tbf 1:        the shaper
//	1:1   fq_codel 2:   the packets that wait for it
//
// What comes from the pod is received there, and the kernel shapes only what it
// sends. So a filter redirects it to an IFB, a device for this alone, whose root is
// the same. The filter leaves out packets of exempt subnets; where the host's end
// sends, they have a band of their own beside the shaper's:
//
//	root  prio 10:
//	10:1  fq_codel 11:  exempt
//	10:2  tbf 1:        all else, as above
package tc

import (
	"errors"
	"io/fs"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"

	"github.com/catena-cni/catena/internal/cni"
	"github.com/catena-cni/catena/internal/kernel"
)

// Handles of the disciplines and their classes: 1:1 is 0x10001. The shaper's is
// upstream's.
const (
	shaperID    = 1 << 16
	shaperClass = shaperID | 1
	queueID     = 2 << 16
	bandsID     = 0x10 << 16
	exemptBand  = bandsID | 1
	shapedBand  = bandsID | 2
	exemptID    = 0x11 << 16
	hookID      = 0xffff << 16 // the kernel's own, of clsact and ingress
)

// attrs are what every discipline on the link has.
func (t target) attrs(handle, parent uint32) netlink.QdiscAttrs {
	return netlink.QdiscAttrs{LinkIndex: t.link.Index, Handle: handle, Parent: parent}
}

// add makes a discipline. The error is fs.ErrExist where one is that is not the
// kernel's own.
func (t target) add(q netlink.Qdisc) error {
	return made(q.Type(), t.k.Call(t.side, func(h *netlink.Handle) error { return h.QdiscAdd(q) }))
}

// addWith is add for options that the library does not know.
func (t target) addWith(kind string, handle, parent uint32, options *nl.RtAttr) error {
	header := &nl.TcMsg{Ifindex: int32(t.link.Index), Handle: handle, Parent: parent}
	return made(kind, t.k.Change(t.side, unix.RTM_NEWQDISC, unix.NLM_F_CREATE|unix.NLM_F_EXCL, header,
		nl.NewRtAttr(nl.TCA_KIND, nl.ZeroTerminated(kind)), options))
}

// made explains the kernel's answer to a new discipline.
func made(kind string, err error) error {
	if errors.Is(err, unix.ENOENT) {
		return lacks(kind, err)
	}
	return err
}

// taken names the discipline that is in the place of a new one.
func (t target) taken(parent uint32, err error) error {
	if !errors.Is(err, fs.ErrExist) {
		return err
	}
	there, lerr := t.at(parent)
	if lerr != nil {
		return err
	}
	err = cni.Taken("%s has a queueing discipline already, %s %s", t.link.Name, there.kind, netlink.HandleStr(there.handle))
	return cni.Hint(err, "detach (DEL) the container first; where it is another program's, one of the two can shape this link")
}

// discipline is what the kernel says of a queueing discipline.
type discipline struct {
	kind    string
	handle  uint32
	options []byte
}

// look gives a link and its discipline below a parent.
func look(k *kernel.Kernel, on Place, parent uint32) (t target, there discipline, err error) {
	if t, err = on.find(k); err == nil {
		there, err = t.at(parent)
	}
	return t, there, err
}

// at finds the discipline below a parent. Where there is none but the kernel's
// own, which has no handle, it is fs.ErrNotExist. The library can only list the
// disciplines of all links.
func (t target) at(parent uint32) (d discipline, err error) {
	// Older kernels send the answer only to who asks for an echo.
	answers, err := t.k.Ask(t.side, unix.RTM_GETQDISC, unix.NLM_F_ECHO|unix.NLM_F_ACK, &nl.TcMsg{Ifindex: int32(t.link.Index), Parent: parent})
	switch {
	case errors.Is(err, unix.ENOENT), errors.Is(err, unix.EINVAL): // no such discipline, no such parent
		return d, fs.ErrNotExist
	case err != nil:
		return d, err
	case len(answers) == 0 || len(answers[0]) < nl.SizeofTcMsg:
		return d, fs.ErrNotExist
	}
	attrs, err := kernel.AttrsByKind(answers[0][nl.SizeofTcMsg:])
	d = discipline{
		kind:    unix.ByteSliceToString(attrs[nl.TCA_KIND].Value),
		handle:  nl.DeserializeTcMsg(answers[0]).Handle,
		options: attrs[nl.TCA_OPTIONS].Value,
	}
	if err == nil && d.handle == 0 {
		err = fs.ErrNotExist
	}
	return d, err
}

// remove deletes the discipline of a handle below a parent, and all below it.
func (t target) remove(handle, parent uint32) error {
	return kernel.Gone(t.k.Call(t.side, func(h *netlink.Handle) error {
		return h.QdiscDel(&netlink.GenericQdisc{QdiscAttrs: t.attrs(handle, parent)})
	}))
}

// gone takes what is not there any more, or never was, as success.
func gone(err error) error {
	if errors.Is(err, errNoVeth) {
		return nil
	}
	return kernel.Gone(err)
}
