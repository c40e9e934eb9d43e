package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"strings"

	"github.com/catena-cni/catena/internal/firewall/iptables"
	"github.com/catena-cni/catena/internal/firewall/nft"
	"github.com/catena-cni/catena/internal/firewall/nft/conditions"
	"github.com/catena-cni/catena/internal/plugin"
	"github.com/catena-cni/catena/internal/plugin/filter"
)

// Conf is portmap's own part of the network configuration.
type Conf struct {
	Backend       *string       `json:"backend" enum:"nftables,iptables" default:"nftables" doc:"what leads the ports; iptables has upstream's chains and comments, and needs the package iptables. Left out, it is iptables where another key is for that alone"`
	SNAT          *bool         `json:"snat" default:"true" doc:"masquerade the connections whose answers would not find back otherwise: from the pod itself, from its subnet, from 127.0.0.0/8"`
	MasqAll       bool          `json:"masqAll" doc:"masquerade every connection to a host port"`
	MarkMasqBit   *int          `json:"markMasqBit" min:"0" max:"31" default:"13" doc:"bit of the packets' mark that asks for masquerading between the hooks; 12 is refused, it is firewall's"`
	SetMarkChain  string        `json:"externalSetMarkChain" doc:"with iptables, which it asks for: a chain of somebody else's that sets the mark instead, such as KUBE-MARK-MASQ"`
	ConditionsV4  Conditions    `json:"conditionsV4" doc:"what IPv4 packets must match besides, in the words of nft or of iptables; those that nft has no like of ask for iptables"`
	ConditionsV6  Conditions    `json:"conditionsV6" doc:"the same for IPv6 packets"`
	RuntimeConfig RuntimeConfig `json:"runtimeConfig" lint:"-" doc:"values of the capabilities; the runtime adds it"`

	ports   []port
	profile *nft.Profile
}

// RuntimeConfig is the values of the capabilities that portmap looks at.
type RuntimeConfig struct {
	PortMappings []PortMapping `json:"portMappings" doc:"the host's ports that lead to the pod: hostPort, containerPort, protocol (tcp, udp, sctp), hostIP"`
}

// PortMapping is a port as runtimes give it.
type PortMapping struct {
	HostPort      int    `json:"hostPort" min:"1" max:"65535" doc:"the host's port"`
	ContainerPort int    `json:"containerPort" min:"1" max:"65535" doc:"the pod's port"`
	Protocol      string `json:"protocol" default:"tcp" doc:"tcp, udp or sctp"`
	HostIP        string `json:"hostIP" doc:"the host's address; without it, or with 0.0.0.0 or ::, every address of the family"`
}

// Conditions are words, in a list or in one string.
type Conditions []string

// UnmarshalJSON takes a list of strings or one string.
func (c *Conditions) UnmarshalJSON(b []byte) error {
	var text string
	if json.Unmarshal(b, &text) == nil {
		*c = strings.Fields(text)
		return nil
	}
	var list []string
	if err := json.Unmarshal(b, &list); err != nil {
		return errors.New("conditions are a list of strings, or one string")
	}
	*c = strings.Fields(strings.Join(list, " "))
	return nil
}

// JSONSchema describes what UnmarshalJSON takes.
func (Conditions) JSONSchema() map[string]any {
	text := map[string]any{"type": "string"}
	return map[string]any{"anyOf": []any{text, map[string]any{"type": "array", "items": text}}}
}

// port is a valid PortMapping. A host that is not valid is every address of
// both families.
type port struct {
	protocol  uint8
	host      netip.Addr
	from, to  uint16
	mentioned string // as the configuration has it, for errors
}

// validate refuses before anything is touched.
func validate(_ *plugin.Call, c *Conf) error {
	errs := []error{c.choose(), c.conflicts()}
	for i, m := range c.RuntimeConfig.PortMappings {
		p, err := m.read(fmt.Sprintf("runtimeConfig.portMappings[%d]", i))
		errs = append(errs, err)
		c.ports = append(c.ports, p)
	}
	return errors.Join(append(errs, c.readConditions())...)
}

// choose takes the backend that alone understands what the configuration says.
func (c *Conf) choose() (err error) {
	var keys []filter.Key
	if c.SetMarkChain != "" {
		keys = append(keys, filter.Key{Name: "externalSetMarkChain", Backends: []string{filter.Iptables}})
	}
	if c.Backend == nil { // one that is named says itself which words it does not understand
		keys = append(keys, wordsOf("conditionsV4", c.ConditionsV4, false)...)
		keys = append(keys, wordsOf("conditionsV6", c.ConditionsV6, true)...)
	}
	c.Backend, err = filter.ChooseBackend(c.Backend, keys...)
	return err
}

// wordsOf is the key of conditions that one backend alone understands.
func wordsOf(key string, words Conditions, six bool) []filter.Key {
	switch {
	case conditions.NftWords(words):
		return []filter.Key{{Name: key, Backends: []string{filter.Nftables}}}
	case conditions.IptablesOnly(words, six):
		return []filter.Key{{Name: key, Backends: []string{filter.Iptables}}}
	}
	return nil
}

func (c *Conf) conflicts() error {
	if c.SetMarkChain == "" {
		return nil
	}
	if c.MarkMasqBit != nil {
		return errors.New("markMasqBit and externalSetMarkChain exclude one another: the chain sets a mark of its own")
	}
	if err := iptables.CheckChain(c.SetMarkChain); err != nil {
		return fmt.Errorf("externalSetMarkChain: %w", err)
	}
	return nil
}

// readConditions holds the conditions against what the backend understands.
func (c *Conf) readConditions() (err error) {
	if !c.byIptables() {
		c.profile, err = nft.NewProfile(c.bit(), c.ConditionsV4, c.ConditionsV6)
		return err
	}
	for key, words := range map[string][]string{"conditionsV4": c.ConditionsV4, "conditionsV6": c.ConditionsV6} {
		if werr := iptables.CheckConditions(words); werr != nil {
			err = errors.Join(err, fmt.Errorf("%s: %w", key, werr))
		}
	}
	return err
}

func (c *Conf) byIptables() bool { return c.Backend != nil && *c.Backend == filter.Iptables }

// bit is the bit of the mark that asks for masquerading.
func (c *Conf) bit() int {
	if c.MarkMasqBit == nil || c.masquerades() == nft.NoSources {
		return nft.DefaultMarkBit
	}
	return *c.MarkMasqBit
}

func (c *Conf) masquerades() nft.Sources {
	switch {
	case c.SNAT != nil && !*c.SNAT:
		return nft.NoSources
	case c.MasqAll:
		return nft.AllSources
	}
	return nft.LocalSources
}

func (m PortMapping) read(where string) (port, error) {
	protocol, known := nft.Protocols[strings.ToLower(m.Protocol)]
	if !known {
		return port{}, fmt.Errorf("%s.protocol is %q, and can be tcp, udp or sctp", where, m.Protocol)
	}
	p := port{protocol: protocol, from: uint16(m.HostPort), to: uint16(m.ContainerPort), mentioned: where}
	if m.HostIP == "" {
		return p, nil
	}
	host, err := netip.ParseAddr(m.HostIP)
	if err != nil || host.Zone() != "" {
		return port{}, fmt.Errorf("%s.hostIP is %q, which is no IP address", where, m.HostIP)
	}
	p.host = host.Unmap()
	return p, nil
}
