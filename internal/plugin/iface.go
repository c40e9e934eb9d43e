package plugin

import (
	"github.com/catena-cni/catena/internal/fact"
	"github.com/catena-cni/catena/internal/fact/addr"
	"github.com/catena-cni/catena/internal/fact/link"
	"github.com/catena-cni/catena/internal/fact/route"
	"github.com/catena-cni/catena/internal/fact/sysctl"
	"github.com/catena-cni/catena/internal/kernel"
)

// Interface is the pod's end of a link, as an IPAM result wants it configured.
type Interface struct {
	Name string
	// Port is the host's bridge port that the link ends in, if any.
	Port string
	// Detect says how duplicates of IPv6 addresses are looked for.
	Detect addr.Detection
	// First are routes that the result's routes stand on.
	First fact.Plan
	// Quiet interfaces have no neighbours to tell of their addresses.
	Quiet bool
	// Aliased links have an alias of their own. Others get the attachment, by
	// which DEL knows them again.
	Aliased bool
	// NoPrefixRoutes leaves out the routes to the addresses' own subnets.
	NoPrefixRoutes bool
}

// Facts are the addresses of the result that belong to the interface, the
// interface being up, and the result's routes.
func (i Interface) Facts(call Call) fact.Plan {
	var addrs fact.Plan
	for _, prefix := range call.Prefixes() {
		addrs = append(addrs, addr.Addr{
			Side: kernel.Pod, Link: i.Name, Prefix: prefix, Detect: i.Detect, NoPrefixRoute: i.NoPrefixRoutes,
		})
	}
	six := call.IPv6()
	four := len(addrs) > len(six)
	announced := len(addrs) > 0 && !i.Quiet && i.Port != "" && call.IPAM != announcing
	var p fact.Plan
	if pairs := i.settings(four && !announced, len(six) > 0); len(pairs) > 0 {
		p = append(p, sysctl.Setting{Side: kernel.Pod, Pairs: pairs, Optional: true})
	}
	p = append(p, addrs...)
	up := link.Up{Name: i.Name, Port: i.Port, ARPNotify: announced && four}
	if !i.Aliased {
		up.Alias = call.Alias()
	}
	p = append(p, up)
	if i.Detect == addr.Wait {
		p = append(p, addr.Settled{Link: i.Name, Addrs: six})
	}
	p = append(p, i.First...)
	for _, r := range route.OfResult(i.Name, call.Result.Routes, call.IPs()) {
		p = append(p, r)
	}
	if announced {
		p = append(p, link.Announce{Link: i.Name})
	}
	return p
}

// announcing is the IPAM plugin that tells the neighbours of an address itself.
// Over the link that it has been given routers may have been learned, which
// the kernel would forget with link.Announce.
const announcing = "dhcp"

// settings are what the kernel is told before the interface comes up: to allow
// IPv6 on it, and on lo, where the container's runtime or an image has turned it
// off; to keep addresses when the link goes down for a moment; to tell the
// neighbours of them when it comes up.
func (i Interface) settings(four, six bool) (pairs sysctl.Pairs) {
	set := func(key, value string) { pairs = append(pairs, sysctl.Pair{Key: key, Value: value}) }
	if four && !i.Quiet {
		set("net/ipv4/conf/"+i.Name+"/arp_notify", "1")
	}
	if !six {
		return pairs
	}
	own := "net/ipv6/conf/" + i.Name
	set("net/ipv6/conf/lo/disable_ipv6", "0")
	set(own+"/disable_ipv6", "0")
	set(own+"/keep_addr_on_down", "1")
	if !i.Quiet {
		set(own+"/ndisc_notify", "1")
	}
	if i.Detect == addr.Optimistic {
		set(own+"/optimistic_dad", "1")
		set(own+"/use_optimistic", "1")
	}
	return pairs
}
