package hostlocal

import (
	"errors"
	"fmt"
	"net/netip"
	"path/filepath"
	"slices"
	"strings"

	"github.com/catena-cni/catena/internal/cni"
	"github.com/catena-cni/catena/internal/ipam"
	"github.com/catena-cni/catena/internal/ipam/lease"
)

// Conf is what host-local reads of the configuration of the plugin that
// delegates to it. Addresses are read as text, so that one which is wrong is
// named by its key and does not hide the rest from a DEL.
type Conf struct {
	CNIVersion    string        `json:"cniVersion" doc:"version of the CNI specification that the configuration is written for"`
	IPAM          IPAM          `json:"ipam" doc:"which addresses are given out"`
	RuntimeConfig RuntimeConfig `json:"runtimeConfig" lint:"-" doc:"values of the capabilities; the runtime adds it"`
	CNIArgs       Args          `json:"args" lint:"-" doc:"optional arguments"`

	sets      []lease.Set
	routes    []*cni.Route
	requested []netip.Addr
	identity  string // the values of stickyKey; "" where one is missing
}

// IPAM is host-local's own configuration.
type IPAM struct {
	Type       string       `json:"type" doc:"host-local"`
	Subnet     string       `json:"subnet" doc:"subnet of a range that stands in ipam itself, which is a set of its own before those of ranges"`
	Start      string       `json:"rangeStart" doc:"first address of that range"`
	End        string       `json:"rangeEnd" doc:"last address of that range"`
	Gateway    string       `json:"gateway" doc:"gateway of that range"`
	Ranges     [][]Range    `json:"ranges" doc:"sets of ranges; the pod gets one address of each set"`
	Routes     []ipam.Route `json:"routes" doc:"routes of the pod, for the result"`
	DataDir    string       `json:"dataDir" default:"/var/lib/cni/networks" doc:"folder of the leases; each network has a folder in it"`
	Exclude    []string     `json:"exclude" doc:"addresses and prefixes that are never given out; what lies in no range does no harm, so one list can serve several networks"`
	StickyKey  string       `json:"stickyKey" doc:"keys of CNI_ARGS, as in K8S_POD_NAMESPACE/K8S_POD_NAME: who comes again with the same values gets the same addresses"`
	ResolvConf string       `json:"resolvConf" doc:"a file like /etc/resolv.conf, whose name servers the result has"`
}

// Range is a run of addresses in one subnet.
type Range struct {
	Subnet  string `json:"subnet" doc:"the subnet, as in 10.1.2.0/24"`
	Start   string `json:"rangeStart" doc:"the first address; the subnet's second where it is not given"`
	End     string `json:"rangeEnd" doc:"the last address; where it is not given the subnet's last, for IPv4 the last but one"`
	Gateway string `json:"gateway" doc:"the gateway, which no pod gets; the subnet's second address where it is not given"`
}

// RuntimeConfig is the values of the capabilities that host-local looks at.
type RuntimeConfig struct {
	IPRanges [][]Range `json:"ipRanges" doc:"capability ipRanges: sets of ranges before all others"`
	IPs      []string  `json:"ips" doc:"capability ips: addresses to give"`
}

// Args are the optional arguments that host-local looks at.
type Args struct {
	CNI struct {
		IPs []string `json:"ips" doc:"addresses to give"`
	} `json:"cni"`
}

// Validate reads the sets, the routes and the requested addresses. A relative
// dataDir is refused, as it would be another folder for each runtime; a DEL still
// frees what upstream's host-local made there.
func (c *Conf) Validate(call ipam.Call) error {
	var errs [5]error
	c.sets, errs[0] = c.readSets()
	c.routes, errs[1] = ipam.ReadRoutes(c.IPAM.Routes)
	c.requested, errs[2] = c.readRequested(call.Args)
	c.identity, errs[3] = c.readIdentity(call)
	if dir := c.IPAM.DataDir; !filepath.IsAbs(dir) {
		errs[4] = fmt.Errorf("ipam.dataDir is %q, and must begin with a slash", dir)
	}
	return errors.Join(errs[:]...)
}

// place is a set of ranges with the key that it stands under. The order of the
// places numbers the files last_reserved_ip.N.
type place struct {
	key    string
	ranges []Range
	alone  bool // the key is that of the range itself
}

func (c *Conf) places() (all []place) {
	for i, set := range c.RuntimeConfig.IPRanges {
		all = append(all, place{key: fmt.Sprintf("runtimeConfig.ipRanges[%d]", i), ranges: set})
	}
	if c.IPAM.Subnet != "" {
		own := Range{Subnet: c.IPAM.Subnet, Start: c.IPAM.Start, End: c.IPAM.End, Gateway: c.IPAM.Gateway}
		all = append(all, place{key: "ipam", ranges: []Range{own}, alone: true})
	}
	for i, set := range c.IPAM.Ranges {
		all = append(all, place{key: fmt.Sprintf("ipam.ranges[%d]", i), ranges: set})
	}
	return all
}

func (c *Conf) readSets() (sets []lease.Set, err error) {
	places := c.places()
	if len(places) == 0 {
		return nil, errors.New("ipam has neither ranges nor a subnet: there is no address to give")
	}
	exclude, err := c.readExclude()
	errs := []error{err}
	for _, p := range places {
		set, err := p.read(exclude, sets)
		errs = append(errs, err)
		sets = append(sets, set)
	}
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	return sets, ipam.HasRoom(c.CNIVersion, sets)
}

// read reads a set that stands behind others.
func (p place) read(exclude []netip.Prefix, others []lease.Set) (set lease.Set, err error) {
	if len(p.ranges) == 0 {
		return set, fmt.Errorf("%s is empty: a set has one range or more", p.key)
	}
	var ranges []lease.Range
	var errs []error
	for i, r := range p.ranges {
		key := p.key
		if !p.alone {
			key += fmt.Sprintf("[%d]", i)
		}
		read, err := r.read(key)
		errs = append(errs, err)
		ranges = append(ranges, read)
	}
	if err := errors.Join(errs...); err != nil {
		return set, err
	}
	if set, err = lease.NewSet(ranges, exclude, others); err != nil {
		err = fmt.Errorf("%s: %w", p.key, err)
	}
	return set, err
}

func (c *Conf) readExclude() (all []netip.Prefix, err error) {
	var errs []error
	for i, text := range c.IPAM.Exclude {
		p, err := cni.ReadPrefix(fmt.Sprintf("ipam.exclude[%d]", i), text)
		if err == nil && p != p.Masked() {
			err = fmt.Errorf("ipam.exclude[%d] is %s: write %s for the one address, or %s for all of them", i, text, p.Addr(), p.Masked())
		}
		if err == nil {
			all = append(all, p)
		}
		errs = append(errs, err)
	}
	return all, errors.Join(errs...)
}

// read turns a range's text into addresses, and fills in what is left out.
func (r Range) read(key string) (lease.Range, error) {
	if r.Subnet == "" {
		return lease.Range{}, fmt.Errorf("%s has no subnet", key)
	}
	subnet, err := netip.ParsePrefix(r.Subnet)
	if subnet = cni.Unmap(subnet); err != nil || subnet.Addr().Is4In6() {
		return lease.Range{}, fmt.Errorf("%s.subnet is %q: a subnet is written like 10.1.2.0/24", key, r.Subnet)
	}
	out := lease.Range{Subnet: subnet}
	var errs [3]error
	out.Start, errs[0] = cni.ReadAddress(key+".rangeStart", r.Start)
	out.End, errs[1] = cni.ReadAddress(key+".rangeEnd", r.End)
	out.Gateway, errs[2] = cni.ReadAddress(key+".gateway", r.Gateway)
	if err := errors.Join(errs[:]...); err != nil {
		return lease.Range{}, err
	}
	out, err = out.Complete()
	if err != nil {
		return lease.Range{}, fmt.Errorf("%s: %w", key, err)
	}
	return out, nil
}

// readRequested gathers the addresses that are asked for, from everywhere.
func (c *Conf) readRequested(args map[string]string) (all []netip.Addr, err error) {
	var errs []error
	add := func(key, text string, code uint) {
		p, err := cni.ReadPrefix(key, text) // its length means nothing: the range's own counts
		errs = append(errs, cni.WithCode(code, err))
		all = append(all, p.Addr().Unmap())
	}
	if text, ok := args["IP"]; ok {
		add("IP in CNI_ARGS", text, cni.CodeEnvironment)
	}
	for i, text := range c.CNIArgs.CNI.IPs {
		add(fmt.Sprintf("args.cni.ips[%d]", i), text, cni.CodeConfig)
	}
	for i, text := range c.RuntimeConfig.IPs {
		add(fmt.Sprintf("runtimeConfig.ips[%d]", i), text, cni.CodeConfig)
	}
	return all, errors.Join(errs...)
}

// readIdentity gathers the values of the keys of CNI_ARGS that stickyKey names.
// Each of the interfaces of one pod has an identity of its own.
func (c *Conf) readIdentity(call ipam.Call) (string, error) {
	if c.IPAM.StickyKey == "" {
		return "", nil
	}
	values := []string{call.IfName}
	for key := range strings.SplitSeq(c.IPAM.StickyKey, "/") {
		if key == "" || strings.ContainsAny(key, "=; \t\n") {
			return "", fmt.Errorf("ipam.stickyKey is %q: it names keys of CNI_ARGS, like K8S_POD_NAMESPACE/K8S_POD_NAME", c.IPAM.StickyKey)
		}
		values = append(values, call.Args[key])
	}
	if slices.Contains(values, "") {
		return "", nil
	}
	return strings.Join(values, ";"), nil
}
