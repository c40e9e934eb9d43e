// Package client gets, extends and releases leases: DHCP for IPv4 (RFC 2131) and
// DHCPv6 (RFC 8415), over an interface of a pod.
package client

import (
	"context"
	"net"
	"net/netip"

	"github.com/catena-cni/catena/internal/kernel"
)

// Client speaks for one attachment in one family.
type Client interface {
	// Acquire gets a lease, for a wished address where the server can give it,
	// and tries until the context ends.
	Acquire(ctx context.Context, k *kernel.Kernel, wish netip.Addr) (*Lease, error)
	// Extend asks once for more time: the server that gave the lease, or after
	// its Rebind time any server. The answer may be another lease. ErrSilent and
	// ErrRefused are what else can come of it.
	Extend(ctx context.Context, k *kernel.Kernel, lease *Lease) (*Lease, error)
	// Release gives the lease back: from the pod's interface if that is still
	// there, or else from the host. No server answers.
	Release(k *kernel.Kernel, lease *Lease, mac net.HardwareAddr, segment Segment) error
}
