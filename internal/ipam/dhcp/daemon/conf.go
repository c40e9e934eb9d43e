package daemon

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"

	"github.com/catena-cni/catena/internal/ipam/dhcp/client"
)

// Conf is the part of the network configuration that the plugin and the daemon
// look at. The plugin hands it over as it is written.
type Conf struct {
	Name string `json:"name"`
	IPAM IPAM   `json:"ipam" doc:"how addresses are asked for"`

	provide  map[uint8][]byte
	ask      []uint8
	families []string
}

// IPAM is dhcp's own configuration.
type IPAM struct {
	Type       string    `json:"type"`
	SocketPath string    `json:"daemonSocketPath" default:"/run/cni/dhcp.sock" doc:"where the daemon listens"`
	Provide    []Provide `json:"provide" doc:"options to tell: {\"option\": \"host-name\", \"value\": \"x\"}, or with fromArg the value of a key of CNI_ARGS"`
	Request    []Request `json:"request" doc:"options to ask for beside ours, as {\"option\": \"43\"}; skipDefault leaves ours out"`
	Priority   int       `json:"priority" min:"0" doc:"metric of the routes that the server gives; 0 takes the kernel's"`
	Family     []string  `json:"family" doc:"\"4\", \"6\" or both; [\"4\"] where it is not given. With \"6\" the address comes by DHCPv6, and routes by router advertisements, which the kernel follows"`
}

// Provide is an option that the server is told.
type Provide struct {
	Option  string `json:"option" doc:"the option's name (dhcp-client-identifier, host-name, routers, subnet-mask, user-class, vendor-class-identifier) or its number"`
	Value   string `json:"value" doc:"its value, as text"`
	FromArg string `json:"fromArg" doc:"key of CNI_ARGS whose value it has, where there is one"`
}

// Request is an option that the server is asked for.
type Request struct {
	Option      string `json:"option" doc:"the option's name or number"`
	SkipDefault bool   `json:"skipDefault" doc:"true in any of them leaves out the options that are asked for by default"`
}

// SocketPath is where the daemon listens unless it is told otherwise.
const SocketPath = "/run/cni/dhcp.sock"

// Validate reads the options. Those of CNI_ARGS are looked up in args.
func (c *Conf) Validate(args map[string]string) error {
	return errors.Join(c.readProvide(args), c.readRequest(), c.readFamilies())
}

func (c *Conf) readProvide(args map[string]string) error {
	c.provide = map[uint8][]byte{}
	var errs []error
	for i, p := range c.IPAM.Provide {
		code, err := client.Option(p.Option)
		if err == nil && client.OwnOption(code) {
			err = fmt.Errorf("option %d belongs to the conversation itself and cannot be set", code)
		}
		values := []string{p.Value}
		if p.FromArg != "" {
			values = append(values, args[p.FromArg])
		}
		for _, v := range values {
			if len(v) > client.OptionMax {
				err = errors.Join(err, fmt.Errorf("its value has %d bytes, and an option can have %d", len(v), client.OptionMax))
			}
			if v != "" && err == nil {
				c.provide[code] = []byte(v)
			}
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("ipam.provide[%d]: %w", i, err))
		}
	}
	return errors.Join(errs...)
}

func (c *Conf) readRequest() error {
	var own []uint8
	var errs []error
	skip := false
	for i, r := range c.IPAM.Request {
		skip = skip || r.SkipDefault
		if r.Option == "" && r.SkipDefault {
			continue
		}
		code, err := client.Option(r.Option)
		if err != nil {
			errs = append(errs, fmt.Errorf("ipam.request[%d]: %w", i, err))
			continue
		}
		own = append(own, code)
	}
	c.ask = client.Asked(own, skip)
	return errors.Join(errs...)
}

// The families that addresses are asked for of.
const (
	four = "4"
	six  = "6"
)

func (c *Conf) readFamilies() error {
	c.families = []string{four}
	if len(c.IPAM.Family) > 0 {
		c.families = slices.Compact(slices.Sorted(slices.Values(slices.Clone(c.IPAM.Family))))
	}
	for _, f := range c.families {
		if f != four && f != six {
			return fmt.Errorf(`ipam.family has %q, and can have "4" and "6"`, f)
		}
	}
	return nil
}

func familyOf(a netip.Addr) string {
	if a.Is4() {
		return four
	}
	return six
}
