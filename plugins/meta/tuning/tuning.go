package main

import (
	"errors"
	"net"

	"github.com/catena-cni/catena/internal/fact"
	"github.com/catena-cni/catena/internal/fact/sysctl"
	"github.com/catena-cni/catena/internal/fact/tuning"
	"github.com/catena-cni/catena/internal/firewall/nft"
	"github.com/catena-cni/catena/internal/kernel"
	"github.com/catena-cni/catena/internal/plugin"
	"github.com/catena-cni/catena/internal/state/name"
	"github.com/catena-cni/catena/internal/upstream"
)

var tuningPlugin = plugin.Plugin[Conf]{
	Name: "tuning", Args: []string{"MAC", "IP", "GATEWAY"}, Chained: true,
	Validate: validate, Complete: complete, MTU: func(c Conf) int { return c.values.MTU }, Want: want, Ready: ready,
	Present: func(*kernel.Kernel) ([]name.Attachment, error) { return nft.Attachments(nft.KindGuardMAC) },
	Collect: func(network string, valid func(string) bool, c Conf) error {
		return errors.Join(tuning.Collect(c.folder(), network, valid), nft.Collect(network, valid))
	},
	Abandoned: func(c Conf) ([]name.Attachment, error) { return tuning.Abandoned(c.folder()) },
	Sweep: func(_ *kernel.Kernel, network string, valid []name.Attachment, c Conf) error {
		return upstream.CollectBackups(c.folder(), network, valid)
	},
}

// want lists what holds while a pod is tuned. What was there before is saved
// first, and forgotten last.
func want(at plugin.At, c Conf) fact.Plan {
	mac, _ := net.ParseMAC(c.values.MAC) // as validate has written it
	return nft.WithRestore(fact.Plan{
		tuning.Saved{Folder: c.folder(), Owner: at.Attachment, Values: c.values, Sysctl: c.pairs, Features: c.Ethtool},
		sysctl.Setting{Side: kernel.Pod, Pairs: c.pairs},
		nft.GuardMAC{Owner: at.Attachment, MAC: mac},
		tuning.Link{Link: at.IfName, Values: c.values},
		tuning.Features{Link: at.IfName, Wanted: c.Ethtool},
	})
}

// complete reports the settings that a result has members for.
func complete(at plugin.At, c Conf) error {
	if i := at.Interface(); i != nil {
		if c.values.MAC != "" {
			i.Mac = c.values.MAC
		}
		if c.values.MTU != 0 && i.Mtu != 0 {
			i.Mtu = c.values.MTU
		}
	}
	return c.permitted(at.IfName)
}

func ready(_ *kernel.Kernel, c Conf) error {
	_, _, err := allowlist()
	return errors.Join(err, c.folder().Writable())
}
