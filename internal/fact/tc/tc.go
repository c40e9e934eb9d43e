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
// sends. So a filter sends it through a device that exists for this alone, an
// IFB, whose root is the same. Subnets that are exempt pass the filter by; where
// the host's end sends, they have a band of their own beside the shaper's:
//
//	root  prio 10:
//	10:1  fq_codel 11:  exempt
//	10:2  tbf 1:        all else, as above
package tc

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"

	"golang.org/x/sys/unix"

	"github.com/catena-cni/catena/internal/cni"
	"github.com/catena-cni/catena/internal/kernel"
	"github.com/catena-cni/catena/internal/netlink"
)

// Handle names a queueing discipline, or one of its classes: 1:1 is 0x10001.
type Handle uint32

func (h Handle) String() string {
	if h == root {
		return "root"
	}
	return fmt.Sprintf("%x:%x", uint32(h)>>16, uint32(h)&0xffff)
}

// Places where nothing of the packet scheduler's own is (linux/pkt_sched.h).
const (
	root    Handle = 0xffffffff // TC_H_ROOT
	hook    Handle = 0xfffffff1 // TC_H_CLSACT, which is TC_H_INGRESS too
	hookID  Handle = 0xffff0000 // what sits there is always called ffff:
	receive Handle = 0xfffffff2 // TC_H_MAKE(TC_H_CLSACT, TC_H_MIN_INGRESS): filters on what is received
)

// Our disciplines. The shaper's handle is upstream's.
const (
	shaperID    Handle = 1 << 16
	shaperClass Handle = shaperID | 1
	queueID     Handle = 2 << 16
	bandsID     Handle = 0x10 << 16
	exemptBand  Handle = bandsID | 1
	exemptID    Handle = 0x11 << 16
	shapedBand  Handle = bandsID | 2
)

// headerSize is that of struct tcmsg (linux/rtnetlink.h).
const headerSize = 20

// header is struct tcmsg.
func header(l *kernel.Link, handle, parent Handle, info uint32) []byte {
	b := make([]byte, headerSize)
	binary.NativeEndian.PutUint32(b[4:], uint32(l.Index))
	binary.NativeEndian.PutUint32(b[8:], uint32(handle))
	binary.NativeEndian.PutUint32(b[12:], uint32(parent))
	binary.NativeEndian.PutUint32(b[16:], info)
	return b
}

// discipline is what the kernel says of a queueing discipline.
type discipline struct {
	kind    string
	handle  Handle
	options []byte
}

// make adds a discipline where none is but the kernel's own. One that is there
// is os.ErrExist.
func (t target) make(kind string, handle, parent Handle, attrs ...netlink.Attr) error {
	c, err := t.k.Conn(t.side)
	if err != nil {
		return err
	}
	body := append(header(t.link, handle, parent, 0), netlink.Join(append([]netlink.Attr{netlink.String(unix.TCA_KIND, kind)}, attrs...)...)...)
	_, err = c.Request(netlink.Message{Type: unix.RTM_NEWQDISC, Flags: unix.NLM_F_CREATE | unix.NLM_F_EXCL, Body: body})
	if errors.Is(err, unix.ENOENT) {
		return lacks(kind, err)
	}
	return kernel.Cause(err)
}

// configs are the kernel's names for what it can be built without.
var configs = map[string]string{
	"tbf": "CONFIG_NET_SCH_TBF", "clsact": "CONFIG_NET_SCH_INGRESS", "prio": "CONFIG_NET_SCH_PRIO",
	"fq_codel": "CONFIG_NET_SCH_FQ_CODEL", "bfifo": "CONFIG_NET_SCH_FIFO",
	"mirred": "CONFIG_NET_ACT_MIRRED", "u32": "CONFIG_NET_CLS_U32", "ifb": "CONFIG_IFB",
}

// errLacks is the class of errors about what this kernel does not have.
var errLacks = errors.New("this kernel does not have")

func lacks(what string, cause error) error {
	return cni.Hint(fmt.Errorf("%w %s (%s): %w", errLacks, what, configs[what], cause),
		"load the module, or use a kernel that has it; many distributions keep it in a package of extra modules")
}

// at finds the discipline below a parent. Where there is none but the kernel's
// own, it is os.ErrNotExist.
func (t target) at(parent Handle) (discipline, error) {
	c, err := t.k.Conn(t.side)
	if err != nil {
		return discipline{}, err
	}
	// Older kernels send the answer only to who asks for an echo.
	answers, err := c.Request(netlink.Message{Type: unix.RTM_GETQDISC, Flags: unix.NLM_F_ECHO, Body: header(t.link, 0, parent, 0)})
	switch {
	case errors.Is(err, unix.ENOENT), errors.Is(err, unix.EINVAL): // no such discipline, no such parent
		return discipline{}, fs.ErrNotExist
	case err != nil:
		return discipline{}, kernel.Cause(err)
	}
	for _, a := range answers {
		if d := parseDiscipline(a); len(a) >= headerSize && d.handle != 0 {
			return d, nil
		}
	}
	return discipline{}, fs.ErrNotExist
}

func parseDiscipline(b []byte) (d discipline) {
	if len(b) < headerSize {
		return d
	}
	d.handle = Handle(binary.NativeEndian.Uint32(b[8:]))
	d.kind = netlink.Text(netlink.Find(b[headerSize:], unix.TCA_KIND))
	d.options = netlink.Find(b[headerSize:], unix.TCA_OPTIONS)
	return d
}

// remove deletes the discipline of that handle below a parent, and all below it.
func (t target) remove(handle, parent Handle) error {
	c, err := t.k.Conn(t.side)
	if err != nil {
		return err
	}
	_, err = c.Request(netlink.Message{Type: unix.RTM_DELQDISC, Body: header(t.link, handle, parent, 0)})
	if errors.Is(err, unix.ENOENT) {
		return nil
	}
	return gone(kernel.Cause(err))
}

// gone takes what is not there any more, or never was, as success.
func gone(err error) error {
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, errNoVeth) {
		return nil
	}
	return err
}
