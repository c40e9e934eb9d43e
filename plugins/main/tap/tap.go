package main

import (
	"fmt"
	"net"
	"strings"
	"unicode"

	"github.com/catena-cni/catena/internal/cni"
	"github.com/catena-cni/catena/internal/fact"
	"github.com/catena-cni/catena/internal/fact/link"
	"github.com/catena-cni/catena/internal/ipam/builtin"
	"github.com/catena-cni/catena/internal/kernel"
	"github.com/catena-cni/catena/internal/plugin"
)

// Conf is tap's own part of the network configuration.
type Conf struct {
	plugin.RuntimeMAC
	MultiQueue     bool    `json:"multiQueue" doc:"several queues; a program must open the device the same way"`
	MTU            int     `json:"mtu" min:"0" max:"65521" doc:"MTU in bytes; 0 takes the kernel's default"`
	MAC            string  `json:"mac" doc:"hardware address of the device; made of the attachment where it is not given"`
	Owner          *uint32 `json:"owner" max:"4294967294" doc:"number of the user who may open the device without privileges"`
	Group          *uint32 `json:"group" max:"4294967294" doc:"number of the group whose members may"`
	SELinuxContext string  `json:"selinuxContext" doc:"SELinux label that the device is made under; without SELinux it does nothing"`
	Bridge         string  `json:"bridge" doc:"bridge inside the pod that the device becomes a port of"`

	mac net.HardwareAddr
}

var tap = plugin.Plugin[Conf]{
	Name: "tap", Builtin: builtin.Of, Args: []string{"MAC", "IP", "GATEWAY"}, MayChain: true,
	Validate: validate, MTU: func(c Conf) int { return c.MTU }, Want: want,
	Ready: func(*kernel.Kernel, Conf) error { return link.TapReady() },
}

func validate(call *plugin.Call, c *Conf) (err error) {
	if err := cni.CheckLinkName("bridge", c.Bridge); err != nil {
		return err
	}
	switch {
	case c.Bridge != "" && c.Bridge == call.IfName:
		return fmt.Errorf("bridge is %q, which is the name of the device itself", c.Bridge)
	case c.SELinuxContext != "" && !isLabel(c.SELinuxContext):
		return fmt.Errorf("selinuxContext is %q: user:role:type is wanted, or user:role:type:level", c.SELinuxContext)
	}
	c.mac, err = c.FirstMAC(call, c.MAC)
	if c.mac == nil {
		c.mac = call.MAC("pod")
	}
	return err
}

// isLabel looks at the form of an SELinux label.
func isLabel(s string) bool {
	parts := strings.SplitN(s, ":", 4)
	for _, p := range parts {
		if p == "" {
			return false
		}
	}
	return len(parts) >= 3 && !strings.ContainsFunc(s, func(r rune) bool { return unicode.IsSpace(r) || unicode.IsControl(r) })
}

// want lists what holds while a pod is attached. Addresses do not wait: the
// device has no carrier until a program opens it.
func want(call plugin.Call, c Conf) fact.Plan {
	p := fact.Plan{link.Tap{
		Link: call.IfName, MAC: call.PodMAC(c.mac), MTU: c.MTU, MultiQueue: c.MultiQueue,
		Owner: c.Owner, Group: c.Group, SELinux: c.SELinuxContext, Bridge: c.Bridge,
	}}
	return append(p, plugin.Interface{Name: call.IfName, Quiet: true}.Facts(call)...)
}
