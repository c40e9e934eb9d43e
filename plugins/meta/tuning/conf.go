package main

import (
	"errors"
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strings"

	"github.com/catena-cni/catena/internal/fact/sysctl"
	"github.com/catena-cni/catena/internal/fact/tuning"
	"github.com/catena-cni/catena/internal/plugin"
	"github.com/catena-cni/catena/internal/state"
)

// Conf is tuning's own part of the network configuration.
type Conf struct {
	Settings
	Ethtool       map[string]bool `json:"ethtool" doc:"features of the device, as ethtool -k lists them: {\"tx-checksum-ip-generic\": false}"`
	DataDir       string          `json:"dataDir" default:"/run/cni/tuning" doc:"where the former values are kept"`
	RuntimeConfig RuntimeConfig   `json:"runtimeConfig" lint:"-" doc:"values of the capabilities; the runtime adds it"`
	CNIArgs       Args            `json:"args" lint:"-" doc:"optional arguments; those of args.cni come before the configuration's"`

	values tuning.Values
	pairs  sysctl.Pairs
}

// Settings can come from the configuration and from args.cni.
type Settings struct {
	Sysctl   map[string]string `json:"sysctl" doc:"settings below net of the pod's namespace, with dots or slashes; IFNAME stands for the interface"`
	MAC      string            `json:"mac" doc:"hardware address; capability mac, args.cni.mac and MAC in CNI_ARGS come before it"`
	Promisc  *bool             `json:"promisc" doc:"promiscuous mode; false leaves it alone"`
	MTU      int               `json:"mtu" min:"0" max:"65535" doc:"MTU in bytes; 0 leaves it alone"`
	AllMulti *bool             `json:"allmulti" doc:"reception of all multicast groups"`
	TxQLen   *int              `json:"txQLen" min:"0" max:"2147483647" doc:"length of the transmit queue in packets"`
}

// RuntimeConfig is the values of the capabilities that tuning looks at.
type RuntimeConfig struct {
	MAC string `json:"mac" doc:"capability mac: the hardware address"`
}

// Args are the optional arguments.
type Args struct {
	CNI Settings `json:"cni"`
}

// validate merges the places that a value can come from and refuses what cannot
// be, before anything is touched.
func validate(call *plugin.Call, c *Conf) (err error) {
	if !filepath.IsAbs(c.DataDir) {
		err = fmt.Errorf("dataDir is %q, and must begin with a slash", c.DataDir)
	}
	args := c.CNIArgs.CNI
	v := &c.values
	var keyErr error
	mac, macErr := plugin.FirstMAC(args.MAC, c.RuntimeConfig.MAC, call.Args["MAC"], c.MAC)
	v.MAC = mac.String()
	v.MTU = max(c.MTU, 0)
	if args.MTU != 0 {
		v.MTU = args.MTU
	}
	v.Promisc = onlyTrue(first(args.Promisc, c.Promisc))
	v.AllMulti = first(args.AllMulti, c.AllMulti)
	v.TxQLen = first(args.TxQLen, c.TxQLen)
	c.pairs, keyErr = pairs(call.IfName, c.Sysctl, args.Sysctl)
	return errors.Join(err, macErr, keyErr, c.features())
}

func first[T any](a, b *T) *T {
	if a != nil {
		return a
	}
	return b
}

func onlyTrue(b *bool) *bool {
	if b == nil || !*b {
		return nil
	}
	return b
}

func (c *Conf) features() error {
	for feature := range c.Ethtool {
		if feature == "" || len(feature) > 31 {
			return fmt.Errorf("ethtool has %q, which is no feature's name", feature)
		}
	}
	return nil
}

// pairs merges settings, those of the arguments over the configuration's, in an
// order that does not depend on chance.
func pairs(ifname string, levels ...map[string]string) (sysctl.Pairs, error) {
	merged := map[string]string{}
	var errs []error
	for _, m := range levels {
		from := map[string]string{}
		for _, written := range slices.Sorted(maps.Keys(m)) {
			key, err := path(written, ifname)
			if other, twice := from[key]; twice && err == nil {
				err = fmt.Errorf("sysctl %q stands there a second time, as %q", other, written)
			}
			if strings.ContainsAny(m[written], "\n\x00") || len(m[written]) > 4096 {
				err = fmt.Errorf("sysctl %q has a value that is no line of text", written)
			}
			errs = append(errs, err)
			from[key] = written
			merged[key] = m[written]
		}
	}
	var out sysctl.Pairs
	for _, key := range slices.Sorted(maps.Keys(merged)) {
		out = append(out, sysctl.Pair{Key: key, Value: merged[key]})
	}
	out.Order()
	return out, errors.Join(errs...)
}

// path is the file below /proc/sys that a key means. In a key that is written
// with dots a slash stands for a dot, as in net.ipv4.conf.eth0/100.arp_filter.
// A key of anything but the network would be the host's.
func path(key, ifname string) (string, error) {
	file := key
	if i := strings.IndexAny(key, "./"); i >= 0 && key[i] == '.' {
		file = strings.Map(func(c rune) rune {
			switch c {
			case '.':
				return '/'
			case '/':
				return '.'
			}
			return c
		}, key)
	}
	if ifname != "" { // as it is for STATUS and GC
		file = strings.Replace(file, "IFNAME", ifname, 1)
	}
	if !sysctl.IsNet(file) {
		return "", fmt.Errorf("sysctl %q is not below net: only the network's settings are the pod's own", key)
	}
	return file, nil
}

// folder is where the values are kept, for a DEL with a broken configuration too.
func (c *Conf) folder() state.Folder {
	if !filepath.IsAbs(c.DataDir) {
		return "/run/cni/tuning"
	}
	return state.Folder(c.DataDir)
}
