package nft

import (
	"fmt"
	"net/netip"
	"os"

	"github.com/catena-cni/catena/internal/fact/route"
	"github.com/catena-cni/catena/internal/kernel"
	"github.com/catena-cni/catena/internal/state/name"
)

// Localnet drops what comes from 127.0.0.0/8, or goes there, on the host's link
// towards a pod: with route_localnet the pod would reach what the host keeps to
// itself (see route.Localnet). The link is found when the fact is made true.
// That of others, such as a bridge, keeps its guard; the attachment's own loses
// it with the attachment.
type Localnet struct {
	Owner name.Attachment
	Pod   netip.Addr
}

func (l Localnet) String() string {
	return fmt.Sprintf("nft  %s guard of the link towards %v", KindLocalnet, l.Pod)
}

// Idle says that nothing is asked for.
func (l Localnet) Idle() bool { return !l.Pod.IsValid() }

func (l Localnet) members(k *kernel.Kernel) Members {
	m := Members{Owner: l.Owner, Kind: KindLocalnet, table: inet}
	if l.Idle() {
		return m
	}
	out, err := route.Lookup(k, kernel.Host, l.Pod)
	if err != nil {
		fmt.Fprintf(os.Stderr, "127.0.0.1 leads to no host port of %v: %v\n", l.Pod, err)
		return m
	}
	m.Elements = []Element{{
		Set: "localnet", Key: ifnameBytes(out.Link), Text: fmt.Sprintf("%q", out.Link), Shared: out.Link != l.Owner.HostLink(),
	}}
	return m
}

// Made reports whether the attachment has a guard.
func (l Localnet) Made(k *kernel.Kernel) (bool, error) {
	return Members{Owner: l.Owner, Kind: KindLocalnet}.Made(k)
}

// Add guards the link.
func (l Localnet) Add(k *kernel.Kernel) error { return l.members(k).Add(k) }

// Del takes the guard of the attachment's own link away.
func (l Localnet) Del(k *kernel.Kernel) error {
	return Members{Owner: l.Owner, Kind: KindLocalnet, table: inet}.Del(k)
}

// Check looks whether the link is guarded.
func (l Localnet) Check(k *kernel.Kernel) error { return l.members(k).Check(k) }
