package nft

import (
	"errors"
	"net/netip"

	"github.com/catena-cni/catena/internal/fact/sysctl"
	"github.com/catena-cni/catena/internal/kernel"
	"github.com/catena-cni/catena/internal/state/name"
)

// Forward lets what comes from addresses of a pod, or goes there, be forwarded
// by the host, whatever the policy of others' chains.
type Forward struct {
	Owner name.Attachment
	Pods  []netip.Addr
	// Admin is the name of a chain of iptables' table filter that has the first
	// word on it, where it exists.
	Admin string
}

func (f Forward) members() Members {
	m := Members{Owner: f.Owner, Kind: KindForward, table: inet}
	for _, a := range f.Pods {
		m.Elements = append(m.Elements, element("forward"+version(a), a.AsSlice(), "%v", a))
	}
	return m
}

// matters are the families of the addresses.
func (f Forward) matters() (w families) {
	for _, a := range f.Pods {
		w.four, w.six = w.four || a.Is4(), w.six || a.Is6()
	}
	return w
}

func (f Forward) String() string { return f.members().String() + " after chain " + f.Admin }

// Idle says that there is no address.
func (f Forward) Idle() bool { return len(f.Pods) == 0 }

// Made reports whether the attachment has addresses that are admitted.
func (f Forward) Made(k *kernel.Kernel) (bool, error) { return f.members().Made(k) }

// Add admits the addresses, and opens the chains of others for all that is
// admitted.
func (f Forward) Add(k *kernel.Kernel) error {
	if f.Idle() {
		return nil
	}
	if err := legacyDrops(f.matters()); err != nil {
		return err // before anything is touched
	}
	if err := f.members().Add(k); err != nil {
		return err
	}
	c, err := dial()
	if err == nil {
		defer c.Close()
		err = c.open(f.matters(), f.Admin)
	}
	if err != nil {
		return errors.Join(err, f.Del(k))
	}
	return nil
}

// Del ends it. The rules in the chains of others stay: they are all pods'.
func (f Forward) Del(k *kernel.Kernel) error { return f.members().Del(k) }

// Check looks for the members, and for chains of others that drop nevertheless.
func (f Forward) Check(k *kernel.Kernel) error {
	if f.Idle() {
		return nil
	}
	err := f.members().Check(k)
	c, derr := dial()
	if derr != nil {
		return derr
	}
	defer c.Close()
	return errors.Join(err, c.shut(f.matters()))
}

// ForwardReady is Ready for Forward: it names the chains of others that would
// drop what is forwarded, and cannot be changed. Those of IPv6 matter where the
// host forwards it.
func ForwardReady() error {
	six, _ := sysctl.Read("net/ipv6/conf/all/forwarding")
	matters := families{four: true, six: six == "1"}
	if err := legacyDrops(matters); err != nil {
		return err
	}
	if err := Ready(); err != nil {
		return err
	}
	c, err := dial()
	if err != nil {
		return err
	}
	defer c.Close()
	return c.blocked(matters)
}
