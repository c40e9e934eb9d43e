package tuning

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"net"
	"os"
	"slices"
	"strings"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"

	"github.com/catena-cni/catena/internal/fact/sysctl"
	"github.com/catena-cni/catena/internal/kernel"
)

// Values are settings of an interface; nil and 0 leave one alone.
type Values struct {
	MAC      net.HardwareAddr
	MTU      int // in bytes
	Promisc  *bool
	AllMulti *bool
	TxQLen   *int // in packets
}

func (v Values) none() bool {
	return v.MAC == nil && v.MTU == 0 && v.Promisc == nil && v.AllMulti == nil && v.TxQLen == nil
}

// only gives those settings of v that other has too.
func (v Values) only(other Values) Values {
	if other.MAC == nil {
		v.MAC = nil
	}
	if other.MTU == 0 {
		v.MTU = 0
	}
	if other.Promisc == nil {
		v.Promisc = nil
	}
	if other.AllMulti == nil {
		v.AllMulti = nil
	}
	if other.TxQLen == nil {
		v.TxQLen = nil
	}
	return v
}

func (v Values) String() string {
	var words []string
	add := func(there bool, word string, value any) {
		if there {
			words = append(words, fmt.Sprintf("%s %v", word, value))
		}
	}
	add(v.MAC != nil, "mac", v.MAC)
	add(v.MTU != 0, "mtu", v.MTU)
	if v.Promisc != nil {
		add(true, "promisc", *v.Promisc)
	}
	if v.AllMulti != nil {
		add(true, "allmulti", *v.AllMulti)
	}
	if v.TxQLen != nil {
		add(true, "txqueuelen", *v.TxQLen)
	}
	return strings.Join(words, " ")
}

// Saved is the values of everything that is to be changed being in the file. It
// comes first, so that there is nothing that was changed and not saved.
type Saved struct {
	File
	Link     string
	Values   Values
	Sysctl   sysctl.Pairs
	Features map[string]bool
}

func (s Saved) String() string { return fmt.Sprintf("save %s/%s", s.Folder, s.key()) }

// Idle says that nothing is to be changed.
func (s Saved) Idle() bool { return s.Values.none() && len(s.Sysctl) == 0 && len(s.Features) == 0 }

// Add reads the values as they are, and claims the file with them.
func (s Saved) Add(k *kernel.Kernel) error {
	if s.Idle() {
		return nil
	}
	before, err := s.ofLink(k)
	if err != nil {
		return err
	}
	before.Owner, before.Netns, before.PodID = s.Owner.String(), k.PodPath(), k.PodID()
	if before.Sysctl, err = s.Sysctl.Now(k); err != nil {
		return err
	}
	err = k.Do(kernel.Pod, func() (err error) {
		before.Features, err = formerFeatures(s.Link, s.Features)
		return err
	})
	if err != nil {
		return err
	}
	return s.claim(before, s.Values)
}

// ofLink reads what the link alone can tell. Settings of the namespace need none:
// a driver in user space may have the device.
func (s Saved) ofLink(k *kernel.Kernel) (saved, error) {
	if s.Values.none() {
		return saved{}, nil
	}
	l, err := k.Link(kernel.Pod, s.Link)
	if err != nil {
		return saved{}, err
	}
	return former(l, s.Values), nil
}

// former is the interface's own values of those that are to be changed.
func former(l *kernel.Link, v Values) (s saved) {
	has := func(flag uint32) *bool { on := l.Flags&flag != 0; return &on }
	if v.MAC != nil {
		s.MAC = l.MAC.String()
	}
	if v.MTU != 0 {
		s.MTU = l.MTU
	}
	if v.Promisc != nil {
		s.Promisc = has(unix.IFF_PROMISC)
	}
	if v.AllMulti != nil {
		s.AllMulti = has(unix.IFF_ALLMULTI)
	}
	if v.TxQLen != nil {
		s.TxQLen = &l.TxQLen
	}
	return s
}

// Del puts everything back that is saved, and removes the file. What is gone with
// its namespace or its interface needs no putting back, and another pod that is
// at the namespace's path by now gets nothing.
func (s Saved) Del(k *kernel.Kernel) error {
	before, err := s.read()
	if err == nil && !before.of(s.Owner) {
		return nil
	}
	if err != nil {
		fmt.Fprintf(os.Stderr, "%v: it is removed\n", err)
		return s.Folder.Remove(s.key())
	}
	if before.in(k, s.Link) {
		if err := s.putBack(k, before); err != nil {
			return err // the file stays, so that it can be tried again
		}
	}
	return s.Folder.Remove(s.key())
}

func (s Saved) putBack(k *kernel.Kernel, before saved) error {
	var errs []error
	try := func(err error) {
		if !errors.Is(err, fs.ErrNotExist) {
			errs = append(errs, err)
		}
	}
	if len(before.Features) > 0 {
		try(k.Do(kernel.Pod, func() error { return askFeatures(s.Link, before.Features) }))
	}
	if v := before.values(); !v.none() {
		try(set(k, s.Link, v))
	}
	for _, p := range before.Sysctl {
		try(sysctl.Setting{Side: kernel.Pod, Pairs: sysctl.Pairs{p}}.Add(k))
	}
	return errors.Join(errs...)
}

// Check has nothing to look at: upstream keeps no file where it need not restore.
func (s Saved) Check(*kernel.Kernel) error { return nil }

// Link is the settings of the pod's interface.
type Link struct {
	Link   string
	Values Values
}

func (l Link) String() string { return fmt.Sprintf("tune pod %s %v", l.Link, l.Values) }

// Idle says that nothing is to be changed.
func (l Link) Idle() bool { return l.Values.none() }

// Add changes all of them in one message.
func (l Link) Add(k *kernel.Kernel) error {
	if l.Idle() {
		return nil
	}
	return set(k, l.Link, l.Values)
}

func set(k *kernel.Kernel, name string, v Values) error {
	link, err := k.Link(kernel.Pod, name)
	if err != nil {
		return err
	}
	var flags, change uint32
	flag := func(wanted *bool, bit uint32) {
		if wanted != nil {
			change |= bit
			if *wanted {
				flags |= bit
			}
		}
	}
	flag(v.Promisc, unix.IFF_PROMISC)
	flag(v.AllMulti, unix.IFF_ALLMULTI)
	var attrs []nl.NetlinkRequestData
	if v.MAC != nil {
		attrs = append(attrs, kernel.MAC(v.MAC))
	}
	if v.MTU != 0 {
		attrs = append(attrs, kernel.MTU(v.MTU))
	}
	if v.TxQLen != nil {
		attrs = append(attrs, nl.NewRtAttr(unix.IFLA_TXQLEN, nl.Uint32Attr(uint32(*v.TxQLen))))
	}
	err = k.SetLink(kernel.Pod, link, flags, change, attrs...)
	if v.MTU != 0 && (errors.Is(err, unix.EINVAL) || errors.Is(err, unix.ERANGE)) {
		return aboveMaster(k, link, v.MTU, err)
	}
	return err
}

// aboveMaster tells an MTU that is larger than that of the link below, for which
// the kernel has no words.
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

// Del does nothing: Saved puts back what was.
func (l Link) Del(*kernel.Kernel) error { return nil }

func (s saved) values() Values {
	mac, _ := net.ParseMAC(s.MAC)
	return Values{MAC: mac, MTU: s.MTU, Promisc: s.Promisc, AllMulti: s.AllMulti, TxQLen: s.TxQLen}
}

// Check compares the settings that are asked for, and no others.
func (l Link) Check(k *kernel.Kernel) error {
	if l.Idle() {
		return nil
	}
	link, err := k.Link(kernel.Pod, l.Link)
	if err != nil {
		return err
	}
	now := former(link, l.Values).values()
	differs := func(a, b *bool) bool { return a != nil && *a != *b }
	var errs []error
	if l.Values.MAC != nil && !bytes.Equal(now.MAC, l.Values.MAC) {
		errs = append(errs, fmt.Errorf("its mac is %v", now.MAC))
	}
	if now.MTU != l.Values.MTU {
		errs = append(errs, fmt.Errorf("its mtu is %d", now.MTU))
	}
	if differs(l.Values.Promisc, now.Promisc) {
		errs = append(errs, fmt.Errorf("promisc is %t", *now.Promisc))
	}
	if differs(l.Values.AllMulti, now.AllMulti) {
		errs = append(errs, fmt.Errorf("allmulti is %t", *now.AllMulti))
	}
	if l.Values.TxQLen != nil && *l.Values.TxQLen != *now.TxQLen {
		errs = append(errs, fmt.Errorf("its transmit queue has %d", *now.TxQLen))
	}
	return errors.Join(errs...)
}

// Sysctls are settings of the pod's network namespace.
type Sysctls struct{ Pairs sysctl.Pairs }

func (s Sysctls) setting() sysctl.Setting {
	return sysctl.Setting{Side: kernel.Pod, Pairs: s.Pairs}
}

func (s Sysctls) String() string { return s.setting().String() }

// Idle says that nothing is to be changed.
func (s Sysctls) Idle() bool { return len(s.Pairs) == 0 }

// Add writes them. Where one is refused, those before it are put back by Saved.
func (s Sysctls) Add(k *kernel.Kernel) error { return s.setting().Add(k) }

// Del does nothing: Saved puts back what was.
func (s Sysctls) Del(*kernel.Kernel) error { return nil }

// Check compares them.
func (s Sysctls) Check(k *kernel.Kernel) error {
	if s.Idle() {
		return nil
	}
	return s.setting().Check(k)
}

// Features are features of the interface's device, as ethtool -k lists them.
type Features struct {
	Link   string
	Wanted map[string]bool
}

func (f Features) String() string {
	words := []string{"tune pod", f.Link}
	for _, feature := range slices.Sorted(maps.Keys(f.Wanted)) {
		words = append(words, fmt.Sprintf("%s=%t", feature, f.Wanted[feature]))
	}
	return strings.Join(words, " ")
}

// Idle says that nothing is to be changed.
func (f Features) Idle() bool { return len(f.Wanted) == 0 }

// Add changes them. Where one is refused, the others are put back by Saved.
func (f Features) Add(k *kernel.Kernel) error {
	if f.Idle() {
		return nil
	}
	return k.Do(kernel.Pod, func() error { return changeFeatures(f.Link, f.Wanted) })
}

// Del does nothing: Saved puts back what was.
func (f Features) Del(*kernel.Kernel) error { return nil }

// Check compares them.
func (f Features) Check(k *kernel.Kernel) error {
	if f.Idle() {
		return nil
	}
	return k.Do(kernel.Pod, func() error {
		now, err := features(f.Link, f.Wanted)
		if err == nil && !maps.Equal(now, f.Wanted) {
			err = fmt.Errorf("they are %v", now)
		}
		return err
	})
}
