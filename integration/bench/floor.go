package main

import (
	"context"
	"net/netip"
	"os"
	"syscall"
	"time"

	"github.com/catena-cni/catena/integration/node"
	"github.com/catena-cni/catena/internal/cni"
	"github.com/catena-cni/catena/internal/fact"
	"github.com/catena-cni/catena/internal/fact/addr"
	"github.com/catena-cni/catena/internal/fact/link"
	"github.com/catena-cni/catena/internal/fact/route"
	"github.com/catena-cni/catena/internal/fact/sysctl"
	"github.com/catena-cni/catena/internal/fact/tuning"
	"github.com/catena-cni/catena/internal/firewall/conntrack"
	"github.com/catena-cni/catena/internal/firewall/nft"
	"github.com/catena-cni/catena/internal/ipam/lease"
	"github.com/catena-cni/catena/internal/kernel"
	"github.com/catena-cni/catena/internal/plugin"
	"github.com/catena-cni/catena/internal/state"
	"github.com/catena-cni/catena/internal/state/name"
	"github.com/containernetworking/cni/pkg/invoke"
	"golang.org/x/sys/unix"
)

// The floor is the least that an ADD of the chain can take while plugins are programs of their own: as many processes as
// it executes, which do nothing, and its requests to the kernel, made by a program that runs already.

// chainPrograms is how many programs an ADD of the chain executes. The counts tell where it is not so any more.
const chainPrograms = 3

// empty is the contender that executes a program which does nothing as often as the chain executes a plugin, and in the
// way that libcni does it.
func empty(program string) (*contender, error) {
	n, err := node.New()
	if err != nil {
		return nil, err
	}
	return &contender{name: nameEmpty, node: n, verbs: []string{"ADD"}, used: children, call: func(_ string, a node.Attachment) error {
		for range chainPrograms {
			if _, err := new(invoke.RawExec).ExecPlugin(context.Background(), program, a.List.Bytes, os.Environ()); err != nil {
				return err
			}
		}
		return nil
	}}, nil
}

// warm is the contender that asks the kernel for what the chain's plugins ask it for, from within this program. Each
// plugin's part has sockets of its own, as each plugin has. The counts tell where it asks for anything else than they.
func warm() (*contender, error) {
	n, err := node.New()
	if err != nil {
		return nil, err
	}
	addresses, err := addresses()
	if err != nil {
		return nil, err
	}
	return &contender{name: nameWarm, node: n, verbs: []string{"ADD", "DEL"}, used: own, call: func(verb string, a node.Attachment) error {
		c := warmChain{at: plugin.At{
			Attachment: name.Attachment{Network: a.List.Name, ContainerID: a.Pod.ID, IfName: a.IfName},
			Netns:      a.Pod.Path, Result: cni.NewResult(), IPAM: "host-local",
		}, ports: a.Ports, sets: addresses}
		if verb == "DEL" {
			return c.del()
		}
		return c.add()
	}}, nil
}

// own is the time of processors that was used by this program.
func own() time.Duration { return used(syscall.RUSAGE_SELF) }

// addresses are those that the chain's host-local gives out.
func addresses() ([]lease.Set, error) {
	r, err := lease.Range{Subnet: netip.MustParsePrefix("10.0.0.0/16")}.Complete()
	if err != nil {
		return nil, err
	}
	return lease.Sets([][]lease.Range{{r}}, nil)
}

// warmChain is the facts of chain(four) for one attachment, plugin by plugin: those that bridge, portmap and tuning
// make of that configuration.
type warmChain struct {
	at    plugin.At
	ports []node.Port
	sets  []lease.Set
}

func (c warmChain) add() error {
	pod, err := kernel.Open(c.at.Netns)
	if err != nil {
		return err
	}
	defer pod.Close()
	if err := link.Free(pod, kernel.Pod, c.at.IfName); err != nil {
		return err
	}
	if err := c.address(); err != nil {
		return err
	}
	if err := c.bridge().Add(pod); err != nil {
		return err
	}
	host := kernel.OpenHost(c.at.Netns)
	defer host.Close()
	if err := c.portmap().Add(host); err != nil {
		return err
	}
	tuned, err := kernel.Open(c.at.Netns)
	if err != nil {
		return err
	}
	defer tuned.Close()
	return c.tuning().Add(tuned)
}

// del is not measured: it makes room for the next attachment.
func (c warmChain) del() error {
	k, err := kernel.Open(c.at.Netns)
	if err != nil {
		return err
	}
	defer k.Close()
	facts := append(append(c.bridge(), c.portmap()...), c.tuning()...)
	if err := facts.Del(k); err != nil {
		return err
	}
	leases, err := c.leases()
	if err != nil {
		return err
	}
	return leases.Del(lease.Owner{ContainerID: c.at.ContainerID, IfName: c.at.IfName})
}

func (c warmChain) leases() (*lease.Store, error) {
	return lease.Open("/var/lib/cni/networks", c.at.Network)
}

// address is host-local's part, and what bridge makes of its result.
func (c warmChain) address() error {
	leases, err := c.leases()
	if err != nil {
		return err
	}
	given, err := leases.Add(lease.Request{
		Owner: lease.Owner{ContainerID: c.at.ContainerID, IfName: c.at.IfName}, Netns: c.at.Netns, Sets: c.sets,
	})
	if err != nil {
		return err
	}
	for _, l := range given {
		pod := 2
		c.at.Result.IPs = append(c.at.Result.IPs, &cni.IPConfig{Interface: &pod, Address: cni.IPNet(l.Address), Gateway: l.Gateway.AsSlice()})
	}
	c.at.Result.Routes = []*cni.Route{{Dst: cni.IPNet(netip.MustParsePrefix("0.0.0.0/0"))}}
	c.at.Result.Interfaces = []*cni.Interface{
		{Name: "cni0"},
		{Name: c.at.HostLink(), Mac: c.at.MAC("host").String()},
		{Name: c.at.IfName, Mac: c.at.MAC("pod").String(), Sandbox: c.at.Netns},
	}
	return nil
}

func (c warmChain) bridge() fact.Plan {
	host, _ := c.at.HostEnd()
	p := fact.Plan{link.Bridge{Name: "cni0"}}
	p = append(p, plugin.Masquerade(c.at, true, nil)...)
	p = append(p, link.Veth{Owner: c.at.Attachment, Pod: c.at.IfName, Bridge: "cni0"}, link.Port{Link: host, Hairpin: true})
	for _, pod := range c.at.Prefixes() {
		gateway := netip.PrefixFrom(pod.Masked().Addr().Next(), pod.Bits())
		p = append(p, addr.Gateway{Link: "cni0", Prefix: gateway, Owned: c.at.HostLink()}, sysctl.Forwarding{})
	}
	p = append(p, plugin.Interface{Name: c.at.IfName, Port: host}.Facts(c.at)...)
	for _, pod := range c.at.Prefixes() {
		p = append(p, addr.Neighbour{Link: "cni0", Addr: pod.Addr(), MAC: c.at.MAC("pod")})
	}
	return p
}

func (c warmChain) portmap() fact.Plan {
	var mappings []nft.Mapping
	var local netip.Addr
	for _, pod := range c.at.Prefixes() {
		for _, p := range c.ports {
			mappings = append(mappings, nft.Mapping{
				Protocol: unix.IPPROTO_TCP, Host: netip.IPv4Unspecified(), HostPort: uint16(p.HostPort), Pod: pod, PodPort: uint16(p.ContainerPort),
			})
		}
		local = pod.Addr()
	}
	return fact.Plan{
		nft.Ports(c.at.Attachment, mappings, nft.LocalSources, nil),
		nft.Localnet{Owner: c.at.Attachment, Pod: local},
		route.Localnet{Pod: local, Own: c.at.HostLink()},
		conntrack.Forget(nft.Flows(mappings)),
	}
}

func (c warmChain) tuning() fact.Plan {
	pairs := sysctl.Pairs{{Key: "net/core/somaxconn", Value: "4096"}}
	file := tuning.File{Folder: state.Folder("/run/cni/tuning"), Owner: c.at.Attachment}
	return fact.Plan{tuning.Saved{File: file, Link: c.at.IfName, Sysctl: pairs}, tuning.Sysctls{Pairs: pairs}}
}
