// Package static is the plugin of that name: it gives the addresses that the
// configuration, the runtime or CNI_ARGS name.
package static

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"slices"

	"github.com/catena-cni/catena/internal/cni"
	"github.com/catena-cni/catena/internal/ipam"
	"github.com/catena-cni/catena/internal/state/name"
)

// Plugin is static, as its program and those that it is a part of run it.
var Plugin = ipam.Plugin{
	Name: "static",
	Args: []string{"IP", "GATEWAY"},
	New:  func() ipam.Giver { return new(Conf) },
}

// Foresee is Give: nothing is kept on the host of what is given.
func (c *Conf) Foresee(call ipam.Call) (*cni.Result, error) { return c.Give(call) }

// Free has nothing to give back.
func (c *Conf) Free(ipam.Call) error { return nil }

// Keep has nothing to give back.
func (c *Conf) Keep(string, []name.Attachment) error { return nil }

// FreeDead does nothing either.
func (c *Conf) FreeDead(string) error { return nil }

// Ready needs nothing of the host.
func (c *Conf) Ready(string) error { return nil }

// Give gives what the configuration and the arguments say.
func (c *Conf) Give(ipam.Call) (*cni.Result, error) {
	if len(c.addresses) == 0 {
		err := cni.Errorf(cni.CodeConfig, "there is no address to give")
		return nil, cni.Hint(err, "name one in ipam.addresses, or by the capability ips, args.cni.ips, or IP in CNI_ARGS")
	}
	for _, gw := range c.unused {
		fmt.Fprintf(os.Stderr, "GATEWAY %s in CNI_ARGS is in the subnet of no address, and not used\n", gw)
	}
	r := cni.NewResult()
	r.Routes, r.DNS = c.routes, c.IPAM.DNS
	for _, a := range c.addresses {
		r.IPs = append(r.IPs, &cni.IPConfig{Address: cni.IPNet(a.Prefix), Gateway: a.gateway.AsSlice()})
	}
	return r, nil
}

// Holds looks for each address in the result, as it was given. Others in the
// result are of others in the chain.
func (c *Conf) Holds(call ipam.Call) error {
	have := map[netip.Addr]*cni.IPConfig{}
	for _, ip := range call.IPs() {
		have[cni.Prefix(ip.Address).Addr()] = ip
	}
	var errs []error
	for _, a := range c.addresses {
		ip, ok := have[a.Addr()]
		switch {
		case !ok && slices.ContainsFunc(call.Prev.IPs, func(ip *cni.IPConfig) bool { return cni.Prefix(ip.Address).Addr() == a.Addr() }):
			errs = append(errs, fmt.Errorf("the address %s is in prevResult as another interface's than %s", a.Prefix, call.IfName))
		case !ok:
			errs = append(errs, fmt.Errorf("the address %s is not in prevResult", a.Prefix))
		case cni.Prefix(ip.Address) != a.Prefix:
			errs = append(errs, fmt.Errorf("the address %s is %s in prevResult", a.Prefix, cni.Prefix(ip.Address)))
		case a.gateway.IsValid() && cni.Address(ip.Gateway) != a.gateway:
			errs = append(errs, fmt.Errorf("the gateway of %s is %s, and %v in prevResult", a.Prefix, a.gateway, ip.Gateway))
		}
	}
	err := cni.WithCode(cni.CodeDrift, errors.Join(errs...))
	if err != nil {
		err = cni.Hint(err, "the configuration has changed since the pod was attached: detach (DEL) and attach (ADD) it again")
	}
	return err
}
