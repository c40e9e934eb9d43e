// Package tuning is the facts about settings of a pod's interface, of its device
// and of its network namespace. Their former values are saved before the first is
// changed, and DEL puts back what was saved, whatever the configuration says by
// then.
package tuning

import (
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"

	"github.com/catena-cni/catena/internal/fact"
	"github.com/catena-cni/catena/internal/kernel"
)

// Values are settings of an interface; nothing, 0 and nil leave one alone. The
// members of JSON are upstream's.
type Values struct {
	MAC      string `json:"mac,omitempty"`
	MTU      int    `json:"mtu,omitempty"` // in bytes
	Promisc  *bool  `json:"promisc,omitempty"`
	AllMulti *bool  `json:"allmulti,omitempty"`
	TxQLen   *int   `json:"txQLen,omitempty"` // in packets
}

// only gives those settings of v that other has too.
func (v Values) only(other Values) Values {
	return Values{where(v.MAC, other.MAC), where(v.MTU, other.MTU), where(v.Promisc, other.Promisc),
		where(v.AllMulti, other.AllMulti), where(v.TxQLen, other.TxQLen)}
}

func where[T comparable](value, wanted T) (out T) {
	if wanted != out {
		out = value
	}
	return out
}

// words are the settings by their names.
func (v Values) words() []string {
	words := []string{fact.Word("mac", v.MAC), fact.Word("mtu", v.MTU), fact.Word("promisc", v.Promisc), fact.Word("allmulti", v.AllMulti),
		fact.Word("txqueuelen", v.TxQLen)}
	return slices.DeleteFunc(words, func(w string) bool { return w == "" })
}

func (v Values) String() string { return strings.Join(v.words(), " ") }

// valuesOf are the values that a link has now.
func valuesOf(l *kernel.Link) Values {
	promisc, allmulti := l.Flags&unix.IFF_PROMISC != 0, l.Flags&unix.IFF_ALLMULTI != 0
	return Values{l.MAC.String(), l.MTU, &promisc, &allmulti, &l.TxQLen}
}

// Link is the settings of the pod's interface. Saved puts back what was.
type Link struct {
	fact.Stays
	Link   string
	Values Values
}

func (l Link) String() string { return fmt.Sprintf("tune pod %s %v", l.Link, l.Values) }

func (l Link) Idle() bool { return l.Values == Values{} }

// Add changes all of them in one message, so that all come true or none.
func (l Link) Add(k *kernel.Kernel) error {
	if l.Idle() {
		return nil
	}
	link, err := k.Link(kernel.Pod, l.Link)
	if err != nil {
		return err
	}
	v := l.Values
	var flags, change uint32
	for bit, wanted := range map[uint32]*bool{unix.IFF_PROMISC: v.Promisc, unix.IFF_ALLMULTI: v.AllMulti} {
		if wanted != nil {
			change |= bit
			if *wanted {
				flags |= bit
			}
		}
	}
	var attrs []*nl.RtAttr
	if mac, err := net.ParseMAC(v.MAC); err == nil {
		attrs = append(attrs, kernel.MAC(mac))
	}
	if v.MTU != 0 {
		attrs = append(attrs, kernel.MTU(v.MTU))
	}
	if v.TxQLen != nil {
		attrs = append(attrs, kernel.TxQLen(*v.TxQLen))
	}
	err = k.SetLink(kernel.Pod, link, flags, change, attrs...)
	if v.MTU != 0 && (errors.Is(err, unix.EINVAL) || errors.Is(err, unix.ERANGE)) {
		return aboveMaster(k, link, v.MTU, err)
	}
	return err
}

// aboveMaster explains an MTU that is larger than that of the link below: the kernel
// has no words for it.
func aboveMaster(k *kernel.Kernel, l *kernel.Link, mtu int, err error) error {
	side := kernel.Pod
	if l.ParentAway {
		side = kernel.Host
	}
	if l.Parent == 0 || l.Kind == "veth" {
		return err
	}
	master, merr := k.LinkAt(side, l.Parent)
	if merr == nil && mtu > master.MTU {
		return fmt.Errorf("mtu %d is more than %d, the mtu of its master %s: %w", mtu, master.MTU, master.Name, err)
	}
	return err
}

// Check compares the settings that are asked for, and no others.
func (l Link) Check(k *kernel.Kernel) error {
	link, err := k.Link(kernel.Pod, l.Link)
	if err != nil {
		return err
	}
	wanted := l.Values.words()
	return fact.ForEach(valuesOf(link).only(l.Values).words(), func(now string) error {
		if slices.Contains(wanted, now) {
			return nil
		}
		setting, value, _ := strings.Cut(now, " ")
		return fmt.Errorf("its %s is %s", setting, value)
	})
}
