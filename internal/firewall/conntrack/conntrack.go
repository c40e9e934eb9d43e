// Package conntrack makes the kernel forget the flows that it remembers of host
// ports. A flow keeps the way that its first packet took: a client of UDP or
// SCTP that goes on sending would never notice that a host port leads elsewhere
// now. TCP notices by itself.
package conntrack

import (
	"fmt"
	"maps"
	"net/netip"
	"os"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/catena-cni/catena/internal/fact/route"
	"github.com/catena-cni/catena/internal/kernel"
)

// Flow is the connections to a pod by a range of host ports.
type Flow struct {
	Protocol uint8
	// Host is the host's address; 0.0.0.0 and :: are all of their family's.
	Host        netip.Addr
	First, Last uint16
	Pod         netip.Addr
	// PodPort is where the first of the host ports leads to, and the others to
	// those that follow.
	PodPort uint16
}

func (f Flow) String() string {
	protocol := map[uint8]string{unix.IPPROTO_UDP: "udp", unix.IPPROTO_SCTP: "sctp"}[f.Protocol]
	text := fmt.Sprint(protocol, " ", netip.AddrPortFrom(f.Host, f.First))
	if f.Last != f.First {
		text += fmt.Sprint("-", f.Last)
	}
	return text
}

// has reports whether an entry is of a client that sends to one of the host
// ports, at an address that may be the host's.
func (f Flow) has(e entry) bool {
	host := e.host.Addr()
	return e.protocol == f.Protocol && host.Is4() == f.Host.Is4() && f.First <= e.host.Port() && e.host.Port() <= f.Last &&
		(f.Host.IsUnspecified() || f.Host == host)
}

// leads reports whether an entry goes where the host port leads.
func (f Flow) leads(e entry) bool {
	return e.pod == netip.AddrPortFrom(f.Pod, f.PodPort+e.host.Port()-f.First)
}

// Stale is that every flow to a host port leads to its pod.
type Stale struct{ Flows []Flow }

// Forget is the fact that follows new mappings: older flows to their host ports
// are forgotten. Those of TCP are left out.
func Forget(flows []Flow) Stale { return Stale{connectionless(flows)} }

func connectionless(flows []Flow) []Flow {
	return slices.DeleteFunc(slices.Clone(flows), func(f Flow) bool {
		return f.Protocol != unix.IPPROTO_UDP && f.Protocol != unix.IPPROTO_SCTP
	})
}

func (s Stale) String() string {
	words := make([]string, len(s.Flows))
	for i, f := range s.Flows {
		words[i] = f.String()
	}
	return "forget older flows to " + strings.Join(words, ", ")
}

// Idle says that there is nothing to forget.
func (s Stale) Idle() bool { return len(s.Flows) == 0 }

// Add forgets. An error does not fail ADD: a flow that stays ends by itself when its
// client pauses.
func (s Stale) Add(k *kernel.Kernel) error {
	local := map[netip.Addr]bool{}
	isLocal := func(a netip.Addr) bool {
		is, known := local[a]
		if !known {
			out, err := route.Lookup(k, kernel.Host, a)
			is = err == nil && out.Local
			local[a] = is
		}
		return is
	}
	forget(s.Flows, func(f Flow, e entry) bool {
		return !f.leads(e) && isLocal(e.host.Addr())
	})
	return nil
}

// Del does nothing: who removes the mappings calls ForgetGone after it.
func (Stale) Del(*kernel.Kernel) error { return nil }

// Check finds nothing: what flows there are is up to the clients.
func (Stale) Check(*kernel.Kernel) error { return nil }

// ForgetGone forgets the flows that lead to a pod by host ports that it has no more,
// whichever of the pod's ports they lead to.
func ForgetGone(flows []Flow) {
	forget(connectionless(flows), func(f Flow, e entry) bool {
		return e.pod.Addr() == f.Pod && e.host.Addr() != f.Pod
	})
}

// forget removes the entries that are meant.
func forget(flows []Flow, meant func(Flow, entry) bool) {
	err := remove(questions(flows), func(e entry) bool {
		return slices.ContainsFunc(flows, func(f Flow) bool { return f.has(e) && meant(f, e) })
	})
	if err != nil {
		fmt.Fprintf(os.Stderr, "older flows to %v go on until their clients pause: %v\n", flows, err)
	}
}

// manyPorts is the number of ports up to which one walk over the kernel's table for
// each is cheaper than one walk that gives all entries of the protocol.
const manyPorts = 8

// questions are those that find every entry of the flows.
func questions(flows []Flow) []question {
	byPort, byProtocol := map[question]bool{}, map[question]bool{}
	for _, f := range flows {
		q := question{protocol: f.Protocol, six: f.Host.Is6()}
		byProtocol[q] = true
		for port := int(f.First); port <= int(f.Last) && len(byPort) <= manyPorts; port++ {
			q.port = uint16(port)
			byPort[q] = true
		}
	}
	if len(byPort) > manyPorts {
		byPort = byProtocol
	}
	return slices.Collect(maps.Keys(byPort))
}
