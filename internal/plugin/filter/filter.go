// Package filter is what plugins have in common that masquerade and choose a
// backend of the packet filter.
package filter

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/catena-cni/catena/internal/cni"
	"github.com/catena-cni/catena/internal/fact"
	"github.com/catena-cni/catena/internal/fact/link"
	"github.com/catena-cni/catena/internal/fact/sysctl"
	"github.com/catena-cni/catena/internal/firewall/iptables"
	"github.com/catena-cni/catena/internal/firewall/nft"
	"github.com/catena-cni/catena/internal/kernel"
	"github.com/catena-cni/catena/internal/plugin"
	"github.com/catena-cni/catena/internal/upstream"
)

// Backends of the packet filter that a configuration can name.
const (
	Nftables = "nftables"
	Iptables = "iptables"
)

// Key is a key of the configuration that is given, and the backends that
// understand it.
type Key struct {
	Name     string
	Backends []string
}

// ChooseBackend gives the backend that understands the keys: the one that is
// named, or where none is, the first of those that a key is for. Without keys it
// is nil, which is the default. A key that the backend does not understand is an
// error.
func ChooseBackend(named *string, keys ...Key) (*string, error) {
	backend, by := named, "backend is %s"
	for _, k := range keys {
		if backend == nil {
			backend, by = &k.Backends[0], k.Name+" for %s"
		}
		if !slices.Contains(k.Backends, *backend) {
			err := fmt.Errorf("%s is for the backend %s, and "+by, k.Name, strings.Join(k.Backends, " or "), *backend)
			return named, cni.Hint(err, "leave one of the two out")
		}
	}
	return backend, nil
}

// Masquerade is the facts that let a pod out under the host's address, if that
// is wanted, by one backend. DEL takes away what either has, and upstream's.
func Masquerade(call plugin.Call, wanted bool, backend string) fact.Plan {
	byNft, byIptables := nft.Masquerade(call.Attachment, nil), iptables.Masquerade{Owner: call.Attachment}
	var pods []netip.Prefix
	if wanted {
		pods = call.Prefixes()
	}
	theirs := upstream.Masquerade{Owner: call.Attachment, Pods: pods}
	if backend == Iptables {
		byIptables.Pods = pods
		return fact.Plan{byNft, upstream.OrUpstreams(byIptables, theirs)}
	}
	byNft = nft.Masquerade(call.Attachment, pods)
	return fact.Plan{byIptables, upstream.OrUpstreams(byNft, theirs)}
}

// MasqueradeReady looks whether an ADD could masquerade now.
func MasqueradeReady(wanted bool, backend string) error {
	switch {
	case !wanted:
		return nil
	case backend == Iptables:
		return iptables.Ready()
	}
	return nft.Ready()
}

// Forwarding lets the host forward what goes to gateways, of each family that
// they are of.
func Forwarding(gateways []netip.Addr) (p fact.Plan) {
	for _, six := range []bool{false, true} {
		if slices.ContainsFunc(gateways, func(gw netip.Addr) bool { return gw.Is6() == six }) {
			p = append(p, sysctl.Forwarding{Six: six})
		}
	}
	return p
}

// ByLink finds the attachments that have a link on the host, or members and rules
// of the kinds that come with one.
func ByLink(t *plugin.Traces, k *kernel.Kernel) {
	t.Found(link.Attachments(k))
	t.Found(nft.Attachments(nft.KindMasquerade, nft.KindGuard))
	t.Found(iptables.Attachments(iptables.KindMasquerade))
	Gone(t)
}

// Gone finds the attachments that have members or rules, and whose pods are
// provably gone.
func Gone(t *plugin.Traces) {
	t.Gone(nft.Abandoned())
	t.Gone(iptables.Abandoned())
}

// Collect is GC for masquerading that no trace speaks of: by members without a
// record, by iptables, or by upstream's plugins.
func Collect(gc plugin.GC) error {
	return errors.Join(nft.Collect(gc.Network, gc.Keeps), iptables.CollectMasquerade(gc.Network, gc.Valid), upstream.CollectMasquerade(gc.Network, gc.Valid))
}

// HostEnd is the name and the hardware address of the host's end of the
// attachment's pair: the attachment's own or, where upstream's plugin made it,
// those that the result has.
func HostEnd(call plugin.Call) (link, mac string) {
	for _, i := range call.Result.Interfaces {
		if i.Sandbox == "" && upstream.HostName(i.Name) {
			return i.Name, i.Mac
		}
	}
	return call.HostLink(), call.MAC("host").String()
}

// TheirLink is the link that upstream's plugin made by the result, for DEL.
func TheirLink(call plugin.Call) fact.Fact {
	if name, mac := HostEnd(call); name != call.HostLink() {
		return upstream.Link{Name: name, MAC: mac}
	}
	return upstream.Link{}
}
