package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"

	"github.com/catena-cni/catena/internal/cni"
	"github.com/catena-cni/catena/internal/plugin"
	"github.com/catena-cni/catena/internal/plugin/delegated"
)

const title = "flannel"

var flannel = plugin.Delegator[Conf]{Name: title, Validate: validate, Compose: compose, Holds: holds, Folder: folder}

// compose makes the configuration of the plugin that does the work out of the
// configuration's delegate and ipam and of flanneld's lease. Where there is no
// lease, it is what the configuration says.
func compose(r *cni.Request, c Conf) (delegated.Conf, error) {
	l, leaseErr := readLease(c.SubnetFile)
	if leaseErr != nil {
		l = lease{}
	}
	ipam, ipamErr := c.ipam(l)
	d := c.Delegate.Clone()
	errs := []error{leaseErr, ipamErr, d.SetDefault("type", "bridge"), d.Set("name", r.Network), d.Set("ipam", ipam)}
	if c.CNIVersion != "" {
		errs = append(errs, d.Set("cniVersion", c.CNIVersion))
	}
	if kind, _ := d.Type(); kind == "bridge" {
		errs = append(errs, d.SetDefault("isGateway", true))
	}
	if leaseErr == nil {
		errs = append(errs, d.SetDefault("ipMasq", !l.ipMasq), d.SetDefault("mtu", l.mtu))
	}
	// What the runtime and the user say of the pod is for the plugin that makes it.
	if r.Conf.RuntimeConfig != nil {
		errs = append(errs, d.Set("runtimeConfig", r.Conf.RuntimeConfig))
	}
	if r.Conf.Args != nil {
		errs = append(errs, d.SetDefault("args", r.Conf.Args))
	}
	if dns := r.Conf.DNS; !dns.IsEmpty() {
		errs = append(errs, d.SetDefault("dns", dns))
	}
	return d, errors.Join(errs...)
}

// subnet is a range of host-local.
type subnet struct {
	Subnet netip.Prefix `json:"subnet"`
}

// ipam is the ipam of the plugin that does the work: one address out of each of
// the node's subnets, and routes to the whole cluster behind the user's own.
func (c Conf) ipam(l lease) (delegated.Conf, error) {
	ipam := c.IPAM.Clone()
	errs := []error{ipam.SetDefault("type", "host-local")}
	// Other plugins have no such key.
	if kind, _ := ipam.Type(); kind == "host-local" && l.subnets != nil {
		var ranges [][]subnet
		for _, s := range l.subnets {
			ranges = append(ranges, []subnet{{s}})
		}
		errs = append(errs, ipam.Set("ranges", ranges))
	}
	routes, err := c.routes()
	errs = append(errs, err)
	for _, n := range l.networks {
		routes = append(routes, json.RawMessage(fmt.Sprintf(`{"dst":%q}`, n)))
	}
	if routes != nil {
		errs = append(errs, ipam.Set("routes", routes))
	}
	return ipam, errors.Join(errs...)
}

// holds looks whether the node still has the subnets that the pod's addresses
// are of: packets for others go to another node. A lease that is not there for
// the moment says nothing.
func holds(c Conf, made delegated.Conf) error {
	l, err := readLease(c.SubnetFile)
	if err != nil {
		return nil
	}
	now, err := c.ipam(l)
	var was delegated.Conf
	if err != nil || json.Unmarshal(made.Get("ipam"), &was) != nil {
		return err
	}
	if before, after := was.Get("ranges"), now.Get("ranges"); before != nil && after != nil && !bytes.Equal(before, after) {
		err := fmt.Errorf("the pod was attached when the node had the subnets %s, and %s has %s now", before, c.SubnetFile, after)
		return cni.Hint(err, "flanneld has got another lease, and packets for the pod go elsewhere: start the pod anew")
	}
	return nil
}
