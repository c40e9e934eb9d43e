package main

import (
	"errors"
	"fmt"
	"slices"
	"strings"

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

// Longest names of chains (XT_EXTENSION_MAXNAMELEN less its final zero byte), and
// of zones.
const (
	chainMax = 28
	zoneMax  = 64
)

// builtIn are names that no chain of one's own can have.
var builtIn = []string{"INPUT", "FORWARD", "OUTPUT", "PREROUTING", "POSTROUTING", "ACCEPT", "DROP", "RETURN", "QUEUE"}

// plain reports whether a name is of letters, digits, '_' and the other
// characters given, and begins with none but the first three.
func plain(name, others string, longest int) bool {
	const first = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_"
	return name != "" && len(name) <= longest && strings.Trim(name, first+others) == "" && strings.Contains(first, name[:1])
}

// validate refuses before anything is touched.
func validate(_ *plugin.Call, c *Conf) error {
	var errs []error
	if !plain(c.admin(), ".-", chainMax) || slices.Contains(builtIn, c.admin()) {
		errs = append(errs, fmt.Errorf("iptablesAdminChainName is %q: a chain of one's own has a name of 1 to 28 letters, digits, '_', '.' and '-'", c.admin()))
	}
	if !plain(c.zone(), "/-", zoneMax) {
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
