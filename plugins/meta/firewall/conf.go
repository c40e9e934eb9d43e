package main

import (
	"errors"
	"fmt"
	"strings"

	"github.com/catena-cni/catena/internal/firewall/iptables"
	"github.com/catena-cni/catena/internal/plugin"
	"github.com/catena-cni/catena/internal/plugin/filter"
)

// Conf is firewall's own part of the network configuration.
type Conf struct {
	Backend       *string `json:"backend" enum:"nftables,iptables,firewalld" default:"nftables" doc:"what lets the pod's traffic through; iptables has upstream's chains, firewalld is asked over D-Bus. Left out, it is firewalld where firewalldZone is given, and does not hang on what runs"`
	AdminChain    *string `json:"iptablesAdminChainName" default:"CNI-ADMIN" doc:"chain of iptables' table filter that has the first word on pods' packets, where it exists"`
	Zone          *string `json:"firewalldZone" default:"trusted" doc:"zone that the pod's addresses are bound to; an address that two pods have stays bound for the second"`
	IngressPolicy string  `json:"ingressPolicy" enum:"open,same-bridge,isolated" default:"open" doc:"who may reach the pod: everybody (open), nobody on other bridges that have a policy (same-bridge), nor pods of its own bridge (isolated, which needs bridge netfilter with iptables alone). With every backend"`
}

// The backends. None is nftables.
const (
	backendNFTables  = "nftables"
	backendIPTables  = "iptables"
	backendFirewalld = "firewalld"
)

func (c Conf) backend() string { return or(c.Backend, backendNFTables) }
func (c Conf) admin() string   { return or(c.AdminChain, "CNI-ADMIN") }
func (c Conf) zone() string    { return or(c.Zone, "trusted") }

func or(given *string, standIn string) string {
	if given == nil {
		return standIn
	}
	return *given
}

// plainZone reports whether a name is of letters, digits, '_', '/' and '-', and
// begins with none but the first three.
func plainZone(name string) bool {
	const first = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_"
	const longest = 64
	return name != "" && len(name) <= longest && strings.Trim(name, first+"/-") == "" && strings.Contains(first, name[:1])
}

// validate refuses before anything is touched.
func validate(_ *plugin.Call, c *Conf) error {
	var errs []error
	if err := iptables.CheckChain(c.admin()); err != nil {
		errs = append(errs, fmt.Errorf("iptablesAdminChainName is %q: %w", c.admin(), err))
	}
	if !plainZone(c.zone()) {
		errs = append(errs, fmt.Errorf("firewalldZone is %q: a zone has a name of letters, digits, '_', '/' and '-'", c.zone()))
	}
	return errors.Join(append(errs, c.choose())...)
}

// choose takes the backend that alone understands what the configuration says.
func (c *Conf) choose() (err error) {
	var keys []filter.Key
	if c.AdminChain != nil {
		keys = append(keys, filter.Key{Name: "iptablesAdminChainName", Backends: []string{backendNFTables, backendIPTables}})
	}
	if c.Zone != nil {
		keys = append(keys, filter.Key{Name: "firewalldZone", Backends: []string{backendFirewalld}})
	}
	c.Backend, err = filter.ChooseBackend(c.Backend, keys...)
	return err
}
