package main

import (
	"net/netip"
	"slices"

	"github.com/catena-cni/catena/internal/cni"
	"github.com/catena-cni/catena/internal/fact"
	"github.com/catena-cni/catena/internal/fact/tc"
	"github.com/catena-cni/catena/internal/kernel"
	"github.com/catena-cni/catena/internal/plugin"
)

var bandwidth = plugin.Plugin[Conf]{
	Name: "bandwidth", Chained: true, Renews: true,
	Validate: validate, Complete: complete, Report: report, Want: want,
	Ready:   func(_ *kernel.Kernel, c Conf) error { return tc.Ready(len(c.exempt) > 0) },
	Traces:  func(t *plugin.Traces, k *kernel.Kernel, _ Conf) { t.Found(tc.Attachments(k)) },
	Collect: func(k *kernel.Kernel, _ plugin.GC, _ Conf) error { return tc.Orphans(k) },
}

// want lists what holds while the pod is limited. A packet is led to the IFB
// when that is ready, and not any more before it goes.
func want(call plugin.Call, c Conf) fact.Plan {
	host, device := tc.HostEnd{Owner: call.Attachment}, ifb(call, c)
	var inPod, onHost tc.Limit
	if c.inPod() {
		inPod = c.egress
	} else {
		onHost = c.egress
	}
	return slices.Concat(
		shaped(host, c.ingress, tc.Source, c.exempt),
		shaped(tc.PodEnd{IfName: call.IfName}, inPod, tc.Destination, c.exempt),
		fact.Plan{device},
		shaper(device, tc.Root, onHost),
		fact.Plan{
			tc.Hook{On: host, Asked: device.Asked},
			tc.Redirect{From: host, IFB: device, Exempt: c.exempt},
		},
	)
}

// shaped holds what a link sends to a limit, less what is exempt.
func shaped(on tc.Place, l tc.Limit, end tc.End, exempt []netip.Prefix) fact.Plan {
	if l.Rate == 0 {
		exempt = nil
	}
	p, below := fact.Plan{tc.Bands{On: on, Exempt: exempt, End: end}}, uint32(tc.Root)
	if len(exempt) > 0 {
		p, below = append(p, tc.Queue{On: on, Below: tc.Exempt, Limit: l}), tc.ShapedBand
	}
	return append(p, shaper(on, below, l)...)
}

func shaper(on tc.Place, below uint32, l tc.Limit) fact.Plan {
	return fact.Plan{
		tc.Shaper{On: on, Below: below, Limit: l},
		tc.Queue{On: on, Below: tc.Shaped, Limit: l},
	}
}

func (c Conf) inPod() bool { return c.EgressShaper == "pod" }

// ifb is the device, which for its Del is in the plan in any case. One without an
// alias is another interface's where the result knows of none.
func ifb(call plugin.Call, c Conf) tc.IFB {
	i := tc.IFB{Owner: call.Attachment, Asked: c.egress.Rate != 0 && !c.inPod()}
	i.Others = call.Prev != nil && !slices.ContainsFunc(call.Prev.Interfaces, func(o *cni.Interface) bool { return o.Name == i.Name() })
	return i
}

// complete adds the device to the result, as upstream does.
func complete(call plugin.Call, c Conf) error {
	if i := ifb(call, c); i.Asked {
		call.Result.Interfaces = append(call.Result.Interfaces, &cni.Interface{Name: i.Name(), Mac: i.MAC().String()})
	}
	return nil
}

// report corrects its name where another interface of the container has it.
func report(k *kernel.Kernel, call plugin.Call) error {
	i := tc.IFB{Owner: call.Attachment}
	l, err := i.Find(k)
	if err != nil {
		return nil // egress is not limited, or in the pod
	}
	for _, o := range call.Result.Interfaces {
		if o.Name == i.Name() && o.Mac == i.MAC().String() {
			o.Name = l.Name
		}
	}
	return nil
}
