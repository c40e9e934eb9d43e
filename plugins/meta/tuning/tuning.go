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
	"github.com/catena-cni/catena/internal/upstream/unnamed"
)

var tuningPlugin = plugin.Plugin[Conf]{
	Name: "tuning", Args: []string{"MAC", "IP", "GATEWAY"}, Chained: true,
	Validate: validate, Complete: complete, MTU: func(c Conf) int { return c.values.MTU }, Want: want, Ready: ready,
	Traces: func(t *plugin.Traces, _ *kernel.Kernel, c Conf) {
		t.Found(nft.Attachments(nft.KindGuardMAC))
		t.Gone(nft.Abandoned())
		t.Gone(tuning.Abandoned(c.folder()))
	},
	Collect: func(_ *kernel.Kernel, gc plugin.GC, c Conf) error {
		return errors.Join(tuning.Collect(c.folder(), gc.Network, gc.Keeps), nft.Collect(gc.Network, gc.Keeps), unnamed.CollectBackups(c.folder(), gc.Network, gc.Valid))
	},
}

// want lists what holds while a pod is tuned. What was there before is saved
// first, and forgotten last.
func want(call plugin.Call, c Conf) fact.Plan {
	mac, _ := net.ParseMAC(c.values.MAC) // as validate has written it
	return nft.WithRestore(fact.Plan{
		tuning.Saved{Folder: c.folder(), Owner: call.Attachment, Values: c.values, Sysctl: c.pairs, Features: c.Ethtool},
		sysctl.Setting{Side: kernel.Pod, Pairs: c.pairs},
		nft.AllowMAC(call.Attachment, mac),
		tuning.Link{Link: call.IfName, Values: c.values},
		tuning.Features{Link: call.IfName, Wanted: c.Ethtool},
	})
}

// complete reports the settings that a result has members for.
func complete(call plugin.Call, c Conf) error {
	if i := call.Interface(); i != nil {
		if c.values.MAC != "" {
			i.Mac = c.values.MAC
		}
		if c.values.MTU != 0 && i.Mtu != 0 {
			i.Mtu = c.values.MTU
		}
	}
	return c.permitted(call.IfName)
}

func ready(_ *kernel.Kernel, c Conf) error {
	_, _, err := allowlist()
	return errors.Join(err, c.folder().Writable())
}
