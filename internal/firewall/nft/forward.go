package nft

import (
	"errors"
	"net/netip"

	"github.com/catena-cni/catena/internal/fact/sysctl"
	"github.com/catena-cni/catena/internal/firewall/forwardrules"
	"github.com/catena-cni/catena/internal/kernel"
	"github.com/catena-cni/catena/internal/state/name"
)

// Forward has the host forward what comes from addresses of a pod, or goes there,
// whatever the policy of others' chains.
type Forward struct {
	Owner name.Attachment
	Pods  []netip.Addr
	// Admin is the name of a chain of iptables' table filter that decides first,
	// where it exists.
	Admin string
}

func (f Forward) members() Members {
	m := Members{Owner: f.Owner, Kind: KindForward, table: inet}
	for _, a := range f.Pods {
		m.Elements = append(m.Elements, element("forward"+version(a), a.AsSlice(), "%v", a))
	}
	return m
}

func (f Forward) families() (w forwardrules.Families) {
	for _, a := range f.Pods {
		w.V4, w.V6 = w.V4 || a.Is4(), w.V6 || a.Is6()
	}
	return w
}

func (f Forward) String() string { return f.members().String() + " after chain " + f.Admin }

// Idle says that there is no address.
func (f Forward) Idle() bool { return len(f.Pods) == 0 }

// Made reports whether the attachment has members of the sets.
func (f Forward) Made(k *kernel.Kernel) (bool, error) { return f.members().Made(k) }

// Add makes the rules that others' chains need, and then the members.
func (f Forward) Add(k *kernel.Kernel) error {
	if f.Idle() {
		return nil
	}
	err := withConn(func(c conn) error { return forwardrules.Ensure(c.Conn, f.families(), f.Admin) })
	if err != nil {
		return err
	}
	return f.members().Add(k)
}

// Del removes the members. The rules in the chains of others stay: they are all
// pods'.
func (f Forward) Del(k *kernel.Kernel) error { return f.members().Del(k) }

// Check looks for the members, and for chains of others that drop nevertheless.
func (f Forward) Check(k *kernel.Kernel) error {
	if f.Idle() {
		return nil
	}
	missing := func(c conn) error { return forwardrules.Missing(c.Conn, f.families()) }
	return errors.Join(f.members().Check(k), withConn(missing))
}

// ForwardReady is Ready for Forward: it names the chains of others that would
// drop what is forwarded, and cannot be changed. Those of IPv6 count where the
// host forwards it.
func ForwardReady() error {
	six, _ := sysctl.Read("net/ipv6/conf/all/forwarding")
	err := withConn(func(c conn) error {
		return forwardrules.Ready(c.Conn, forwardrules.Families{V4: true, V6: six == "1"})
	})
	if err != nil {
		return err
	}
	return Ready()
}

// RestoreForward is for GC: a chain may have come to drop since the last ADD.
func RestoreForward() error {
	return withConn(func(c conn) error { return forwardrules.Restore(c.Conn, true) })
}

func withConn(do func(conn) error) error {
	c, err := dial()
	if err != nil {
		return err
	}
	defer c.Close()
	return do(c)
}
