package main

import (
	"errors"
	"fmt"
	"net/netip"
	"os"

	"github.com/catena-cni/catena/internal/cni"
	"github.com/catena-cni/catena/internal/name"
	"github.com/catena-cni/catena/internal/plugin"
)

// static keeps nothing on the host: there is nothing to give back, and no verb
// that looks for something.
var static = plugin.IPAM[Conf]{
	Name:     "static",
	Args:     []string{"IP", "GATEWAY"},
	Validate: validate,
	Give:     give,
	Free:     func(plugin.At, Conf) error { return nil },
	Holds:    holds,
	Keep:     func(string, []name.Attachment, Conf) error { return nil },
	Ready:    func(string, Conf) error { return nil },
	Foresee:  give,
}

func give(_ plugin.At, c Conf) (*cni.Result, error) {
	if len(c.addresses) == 0 {
		err := cni.Errorf(cni.CodeConfig, "static has no address to give")
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

// holds looks for each address in the result, as it was given. Others in the
// result are of others in the chain.
func holds(at plugin.At, c Conf) error {
	have := map[netip.Addr]*cni.IPConfig{}
	for _, ip := range cni.IPsOf(at.Result, at.IfName) {
		have[cni.Prefix(ip.Address).Addr()] = ip
	}
	var errs []error
	for _, a := range c.addresses {
		ip, ok := have[a.Addr()]
		switch {
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
