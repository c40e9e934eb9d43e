package cni

import (
	"net"
	"slices"

	"github.com/containernetworking/cni/pkg/types"
	current "github.com/containernetworking/cni/pkg/types/100"

	"github.com/catena-cni/catena/internal/json"
)

// The forms of a result that differ in nothing but their version, and are read
// and written here. The library goes three times through a result to write it;
// it has the older forms.
var plain = []string{"1.0.0", "1.1.0"}

// text is a result as JSON has it, with the keys in the library's order.
type text struct {
	CNIVersion string           `json:"cniVersion,omitempty"`
	DNS        *dnsText         `json:"dns,omitempty"`
	Interfaces []*interfaceText `json:"interfaces,omitempty"`
	IPs        []*ipText        `json:"ips,omitempty"`
	Routes     []*routeText     `json:"routes,omitempty"`
}

type dnsText struct {
	Domain      string   `json:"domain,omitempty"`
	Nameservers []string `json:"nameservers,omitempty"`
	Options     []string `json:"options,omitempty"`
	Search      []string `json:"search,omitempty"`
}

type interfaceText struct {
	Mac        string `json:"mac,omitempty"`
	Mtu        int    `json:"mtu,omitempty"`
	Name       string `json:"name"`
	PciID      string `json:"pciID,omitempty"`
	Sandbox    string `json:"sandbox,omitempty"`
	SocketPath string `json:"socketPath,omitempty"`
}

type ipText struct {
	Address   prefixText `json:"address"`
	Gateway   net.IP     `json:"gateway,omitempty"`
	Interface *int       `json:"interface,omitempty"`
}

type routeText struct {
	AdvMSS   int        `json:"advmss,omitempty"`
	Dst      prefixText `json:"dst"`
	GW       net.IP     `json:"gw,omitempty"`
	MTU      int        `json:"mtu,omitempty"`
	Priority int        `json:"priority,omitempty"`
	Scope    *int       `json:"scope,omitempty"`
	Table    *int       `json:"table,omitempty"`
}

// prefixText is an address with its prefix length, as the library's IPNet is. It
// must be a string that says one, where it is there: null is refused too.
type prefixText net.IPNet

func (p *prefixText) UnmarshalJSON(text []byte) error {
	var s string
	if err := json.Unmarshal(text, &s); err != nil {
		return err
	}
	n, err := types.ParseCIDR(s)
	if err == nil {
		*p = prefixText(*n)
	}
	return err
}

func (p prefixText) MarshalText() ([]byte, error) {
	n := net.IPNet(p)
	return []byte(n.String()), nil
}

// parsePlain reads a result of a plain form. Where it is not ok, the library
// says why.
func parsePlain(data []byte) (r *Result, ok bool) {
	var t text
	if json.Unmarshal(data, &t) != nil || !slices.Contains(plain, t.CNIVersion) {
		return nil, false
	}
	r = NewResult()
	for _, i := range t.Interfaces {
		if i == nil {
			return nil, false
		}
		r.Interfaces = append(r.Interfaces, &Interface{Name: i.Name, Mac: i.Mac, Mtu: i.Mtu, Sandbox: i.Sandbox, SocketPath: i.SocketPath, PciID: i.PciID})
	}
	for _, ip := range t.IPs {
		if ip == nil {
			return nil, false
		}
		r.IPs = append(r.IPs, &IPConfig{Interface: ip.Interface, Address: net.IPNet(ip.Address), Gateway: ip.Gateway})
	}
	for _, route := range t.Routes {
		if route == nil {
			return nil, false
		}
		r.Routes = append(r.Routes, &Route{
			Dst: net.IPNet(route.Dst), GW: route.GW, MTU: route.MTU, AdvMSS: route.AdvMSS, Priority: route.Priority, Table: route.Table, Scope: route.Scope,
		})
	}
	if d := t.DNS; d != nil {
		r.DNS = DNS{Nameservers: d.Nameservers, Domain: d.Domain, Search: d.Search, Options: d.Options}
	}
	return r, true
}

// printPlain writes a result in a plain form.
func printPlain(r *current.Result, version string) ([]byte, error) {
	t := text{CNIVersion: version}
	if d := r.DNS; !d.IsEmpty() {
		t.DNS = &dnsText{Domain: d.Domain, Nameservers: d.Nameservers, Options: d.Options, Search: d.Search}
	}
	for _, i := range r.Interfaces {
		t.Interfaces = append(t.Interfaces, &interfaceText{Mac: i.Mac, Mtu: i.Mtu, Name: i.Name, PciID: i.PciID, Sandbox: i.Sandbox, SocketPath: i.SocketPath})
	}
	for _, ip := range r.IPs {
		t.IPs = append(t.IPs, &ipText{Address: prefixText(ip.Address), Gateway: ip.Gateway, Interface: ip.Interface})
	}
	for _, route := range r.Routes {
		t.Routes = append(t.Routes, &routeText{
			AdvMSS: route.AdvMSS, Dst: prefixText(route.Dst), GW: route.GW, MTU: route.MTU, Priority: route.Priority, Scope: route.Scope, Table: route.Table,
		})
	}
	return json.MarshalIndent(t, "", "    ")
}
