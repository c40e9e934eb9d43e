package static

import (
	"cmp"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/catena-cni/catena/internal/cni"
	"github.com/catena-cni/catena/internal/ipam"
)

// Conf is what static reads of the configuration of the plugin that delegates
// to it.
type Conf struct {
	CNIVersion    string        `json:"cniVersion" doc:"version of the CNI specification that the configuration is written for"`
	IPAM          IPAM          `json:"ipam" doc:"which addresses are given"`
	RuntimeConfig RuntimeConfig `json:"runtimeConfig" lint:"-" doc:"values of the capabilities; the runtime adds it"`
	CNIArgs       Args          `json:"args" lint:"-" doc:"optional arguments"`

	addresses []address
	unused    []netip.Addr // of GATEWAY in CNI_ARGS
	routes    []*cni.Route
}

// IPAM is static's own configuration.
type IPAM struct {
	Type      string       `json:"type" doc:"static"`
	Addresses []Address    `json:"addresses" doc:"list of {\"address\": \"10.1.2.3/24\", \"gateway\": \"10.1.2.1\"}; the gateway may be left out"`
	Routes    []ipam.Route `json:"routes" doc:"routes of the pod, for the result"`
	DNS       cni.DNS      `json:"dns" doc:"name resolution of the pod, for the result"`
}

// Address is one address of the configuration.
type Address struct {
	Address string `json:"address" doc:"the address with the length of its subnet's prefix, as in 10.1.2.3/24"`
	Gateway string `json:"gateway" doc:"the gateway of that subnet"`
}

// RuntimeConfig is the values of the capabilities that static looks at.
type RuntimeConfig struct {
	IPs []string `json:"ips" doc:"capability ips: the addresses that the pod gets instead of the others, with their prefix lengths"`
}

// Args are the optional arguments that static looks at.
type Args struct {
	CNI struct {
		IPs []string `json:"ips" doc:"the addresses that the pod gets instead of the configuration's, with their prefix lengths"`
	} `json:"cni"`
}

// address is an address to give. The gateway may be missing.
type address struct {
	netip.Prefix
	gateway netip.Addr
}

// Is4 tells the family.
func (a address) Is4() bool { return a.Addr().Is4() }

// Validate reads the addresses, their gateways and the routes.
func (c *Conf) Validate(call ipam.Call) error {
	var errs [2]error
	errs[0] = c.gather(call.Args)
	c.routes, errs[1] = ipam.ReadRoutes(c.IPAM.Routes)
	return errors.Join(errs[:]...)
}

// gather reads the addresses of all sources, in upstream's order: those of
// CNI_ARGS come after the configuration's, those of args.cni take the place of
// both, and those of the capability the place of all.
func (c *Conf) gather(args map[string]string) error {
	var errs []error
	for i, a := range c.IPAM.Addresses {
		read, err := a.read(fmt.Sprintf("ipam.addresses[%d]", i))
		errs = append(errs, err)
		c.addresses = append(c.addresses, read)
	}
	more, err := prefixes("IP in CNI_ARGS", list(args["IP"]))
	errs = append(errs, cni.WithCode(cni.CodeEnvironment, err))
	c.addresses = append(c.addresses, more...)
	for _, source := range []struct {
		key string
		ips []string
	}{{"args.cni.ips[#]", c.CNIArgs.CNI.IPs}, {"runtimeConfig.ips[#]", c.RuntimeConfig.IPs}} {
		instead, err := prefixes(source.key, source.ips)
		errs = append(errs, err)
		if len(instead) > 0 {
			c.addresses = inherit(instead, c.addresses)
		}
	}
	errs = append(errs, cni.WithCode(cni.CodeEnvironment, c.setGateways(list(args["GATEWAY"]))))
	if err := errors.Join(errs...); err != nil {
		return err
	}
	seen := map[netip.Addr]bool{}
	for _, a := range c.addresses {
		if seen[a.Addr()] {
			return fmt.Errorf("the address %s is given twice", a.Addr())
		}
		seen[a.Addr()] = true
	}
	return ipam.HasRoom(c.CNIVersion, c.addresses)
}

// list splits a value of CNI_ARGS at its commas.
func list(text string) []string {
	if text == "" {
		return nil
	}
	return strings.Split(text, ",")
}

func (a Address) read(key string) (out address, err error) {
	var errs [2]error
	out.Prefix, errs[0] = cni.ReadInterfaceAddress(key+".address", a.Address)
	out.gateway, errs[1] = cni.ReadAddress(key+".gateway", a.Gateway)
	if err := errors.Join(errs[:]...); err != nil || !out.gateway.IsValid() {
		return out, err
	}
	switch {
	case out.gateway == out.Addr():
		err = fmt.Errorf("%s.gateway is %s, which is the pod's own address", key, out.gateway)
	case out.gateway.Is4() != out.Is4():
		err = fmt.Errorf("%s.gateway is %s, which is of another family than %s", key, out.gateway, out.Prefix)
	}
	return out, err
}

// prefixes reads a list of addresses; in key, # stands for the place of each.
func prefixes(key string, texts []string) (all []address, err error) {
	var errs []error
	for i, text := range texts {
		p, err := cni.ReadInterfaceAddress(strings.Replace(key, "#", strconv.Itoa(i), 1), strings.TrimSpace(text))
		errs = append(errs, err)
		all = append(all, address{Prefix: p})
	}
	return all, errors.Join(errs...)
}

// inherit gives addresses the gateways of those in the same subnet whose place
// they take.
func inherit(all, before []address) []address {
	for i, a := range all {
		for _, b := range before {
			if b.Masked() == a.Masked() && b.gateway != a.Addr() {
				all[i].gateway = cmp.Or(all[i].gateway, b.gateway)
			}
		}
	}
	return all
}

// setGateways gives each address without a gateway the last one in its subnet.
func (c *Conf) setGateways(texts []string) error {
	var errs []error
	used := map[netip.Addr]bool{}
	var gateways []netip.Addr
	for _, text := range texts {
		gw, err := cni.ReadAddress("GATEWAY in CNI_ARGS", strings.TrimSpace(text))
		errs = append(errs, err)
		gateways = append(gateways, gw)
	}
	for i, a := range c.addresses {
		for _, gw := range gateways {
			if a.Contains(gw) && gw != a.Addr() {
				used[gw] = true
				if !a.gateway.IsValid() {
					c.addresses[i].gateway = gw
				}
			}
		}
	}
	c.unused = slices.DeleteFunc(slices.Clone(gateways), func(gw netip.Addr) bool { return used[gw] })
	return errors.Join(errs...)
}
