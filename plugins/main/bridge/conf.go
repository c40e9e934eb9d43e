package main

import (
	"errors"
	"fmt"
	"net"

	"github.com/catena-cni/catena/internal/cni"
	"github.com/catena-cni/catena/internal/fact/link"
	"github.com/catena-cni/catena/internal/plugin"
)

// Conf is bridge's own part of the network configuration.
type Conf struct {
	plugin.RuntimeMAC
	Bridge           string     `json:"bridge" default:"cni0" doc:"name of the host's bridge; made where it is missing, put right where it is not as wanted"`
	IsGateway        bool       `json:"isGateway" doc:"give the bridge the pods' gateway addresses, and forward what the pods send. A gateway may be on no subnet of the pod's, as 169.254.1.1 or fe80::1: then the host has a route to each address of the pod"`
	IsDefaultGateway bool       `json:"isDefaultGateway" doc:"isGateway, and a default route to it in the pod"`
	ForceAddress     bool       `json:"forceAddress" doc:"take away another gateway address of the same subnet even while pods use it; without pods it is taken away anyhow"`
	IPMasq           bool       `json:"ipMasq" doc:"let pods out under the host's address, except to their own subnet and to multicast groups"`
	IPMasqBackend    string     `json:"ipMasqBackend" enum:"nftables,iptables" default:"nftables" doc:"what masquerades; iptables has upstream's chains and comments, and needs the package iptables"`
	MTU              plugin.MTU `json:"mtu" doc:"MTU in bytes of both ends and the bridge; 0 takes the bridge's, \"auto\" that of the host's default route"`
	HairpinMode      bool       `json:"hairpinMode" doc:"let a pod reach itself by way of the bridge"`
	PromiscMode      *bool      `json:"promiscMode" doc:"the bridge's promiscuous mode, left alone where it is not given; not together with hairpinMode"`
	VLAN             int        `json:"vlan" min:"0" max:"4094" doc:"VLAN of the pod's untagged frames, 0 for none; the gateway is then the link BRIDGE.VLAN"`
	VLANTrunk        *[]Trunk   `json:"vlanTrunk" doc:"VLANs of the pod's tagged frames: a list of {\"id\": 5} and {\"minID\": 7, \"maxID\": 9}; without vlan the untagged ones are in VLAN 1"`
	KeepDefaultVLAN  bool       `json:"preserveDefaultVlan" doc:"leave the pod in the bridge's default VLAN too"`
	MACSpoofCheck    bool       `json:"macspoofchk" doc:"drop frames that a pod sends under another address than its own, and ARP that names another as its sender"`
	EnableDAD        bool       `json:"enabledad" doc:"look for duplicates of the pod's IPv6 addresses before they are used, which takes a second or two"`
	NoInterface      bool       `json:"disableContainerInterface" doc:"leave the pod's end down; only without ipam"`
	PortIsolation    bool       `json:"portIsolation" doc:"let no frames pass between pods that have this set"`

	mac    net.HardwareAddr
	trunks []link.VLANRange
}

// Trunk is one VLAN or a range of them.
type Trunk struct {
	ID    *int `json:"id" min:"1" max:"4094" doc:"one VLAN"`
	MinID *int `json:"minID" min:"1" max:"4094" doc:"the first of a range"`
	MaxID *int `json:"maxID" min:"1" max:"4094" doc:"the last of a range"`
}

// validate merges and refuses before anything is touched.
func validate(call *plugin.Call, c *Conf) (err error) {
	c.IsGateway = c.IsGateway || c.IsDefaultGateway
	c.mac, err = c.FirstMAC(call, "")
	trunks, trunkErr := c.vlanTrunk()
	c.trunks = trunks
	return errors.Join(err, trunkErr, c.conflicts(call))
}

func (c *Conf) conflicts(call *plugin.Call) error {
	if err := cni.CheckLinkName("bridge", c.Bridge); err != nil {
		return err
	}
	switch {
	case c.HairpinMode && c.PromiscMode != nil && *c.PromiscMode:
		return errors.New("hairpinMode and promiscMode exclude one another: a promiscuous bridge sends a pod's frames back to it twice")
	case c.NoInterface && call.IPAM != "":
		return errors.New("disableContainerInterface and ipam exclude one another: an interface that is down can have no routes")
	case c.gatewayVLAN() && cni.CheckLinkName("bridge", c.gatewayVLANLink().Name()) != nil:
		return fmt.Errorf("the gateway of VLAN %d would be an interface %s, whose name is longer than 15 bytes: shorten bridge", c.VLAN, c.gatewayVLANLink().Name())
	}
	return nil
}

// gatewayVLAN reports whether the gateway addresses are in a VLAN.
func (c *Conf) gatewayVLAN() bool { return c.VLAN != 0 && c.IsGateway }

func (c *Conf) gatewayVLANLink() link.VLANGateway {
	return link.VLANGateway{Bridge: c.Bridge, VLAN: uint16(c.VLAN), KeepDefault: c.KeepDefaultVLAN}
}

// access is the VLAN of the pod's untagged frames. On a trunk without one it is
// VLAN 1, as upstream has it.
func (c *Conf) access() uint16 {
	if c.VLAN == 0 {
		return 1
	}
	return uint16(c.VLAN)
}

// filters reports whether the bridge must tell VLANs apart.
func (c *Conf) filters() bool { return c.VLAN != 0 || c.VLANTrunk != nil }

// vlanMax is the last VLAN there can be (IEEE 802.1Q).
const vlanMax = 4094

// vlanTrunk is the trunk's VLANs in order, those that touch joined.
func (c *Conf) vlanTrunk() (out []link.VLANRange, err error) {
	if c.VLANTrunk == nil {
		return nil, nil
	}
	var wanted [vlanMax + 1]bool
	for i, t := range *c.VLANTrunk {
		switch {
		case t.ID == nil && t.MinID == nil && t.MaxID == nil:
			return nil, fmt.Errorf("vlanTrunk[%d] has neither id nor minID and maxID", i)
		case (t.MinID == nil) != (t.MaxID == nil):
			return nil, fmt.Errorf("vlanTrunk[%d] has one of minID and maxID: they come together", i)
		case t.MinID != nil && *t.MinID > *t.MaxID:
			return nil, fmt.Errorf("vlanTrunk[%d]: minID %d is above maxID %d", i, *t.MinID, *t.MaxID)
		}
		if t.ID != nil {
			wanted[*t.ID] = true
		}
		if t.MinID != nil {
			for id := *t.MinID; id <= *t.MaxID; id++ {
				wanted[id] = true
			}
		}
	}
	for id := uint16(1); id <= vlanMax; id++ {
		switch {
		case !wanted[id]:
		case wanted[id-1]:
			out[len(out)-1].Last = id
		default:
			out = append(out, link.VLANRange{First: id, Last: id})
		}
	}
	return out, nil
}
