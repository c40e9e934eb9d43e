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
// whatever the policy of others' chains. Del leaves the rules in the chains of
// others: they are all pods'.
type Forward struct {
	Members
	admin    string
	families forwardrules.Families
}

// NewForward is Forward of a pod's addresses, if any. The chain of that name in
// iptables' table filter decides first, where it exists.
func NewForward(owner name.Attachment, admin string, pods ...netip.Addr) Forward {
	f := Forward{Members: Members{Owner: owner, Kind: KindForward, table: inet}, admin: admin}
	for _, a := range pods {
		f.Elements = append(f.Elements, element("forward"+version(a), a.AsSlice(), "%v", a))
		f.families.V4, f.families.V6 = f.families.V4 || a.Is4(), f.families.V6 || a.Is6()
	}
	return f
}

func (f Forward) String() string { return f.Members.String() + " after chain " + f.admin }

// Add makes the rules that others' chains need, and then the members.
func (f Forward) Add(k *kernel.Kernel) error {
	err := overCall(k, func(c conn) error { return forwardrules.Ensure(c.Conn, f.families, f.admin) })
	if err != nil {
		return err
	}
	return f.Members.Add(k)
}

// Check looks for the members, and for chains of others that drop nevertheless.
func (f Forward) Check(k *kernel.Kernel) error {
	missing := func(c conn) error { return forwardrules.Missing(c.Conn, f.families) }
	return errors.Join(f.Members.Check(k), overCall(k, missing))
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
