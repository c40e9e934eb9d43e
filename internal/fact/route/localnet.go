package route

import (
	"fmt"
	"net/netip"

	"github.com/catena-cni/catena/internal/fact/sysctl"
	"github.com/catena-cni/catena/internal/kernel"
)

// Localnet lets packets with an address of 127.0.0.0/8 pass on the host's link
// towards a pod (route_localnet), so that 127.0.0.1 leads to the pod's host ports.
// It comes after the guard of the link against such packets from outside, and ends
// before it. It stays on a shared link, where others need it. Where the host has no
// route to the pod, there is no link to set it on.
type Localnet struct {
	Pod netip.Addr
	// Own is the name of the attachment's own link.
	Own string
}

func (l Localnet) String() string {
	return fmt.Sprintf("sysctl host route_localnet=1 on the link towards %v", l.Pod)
}

func (l Localnet) Idle() bool { return !l.Pod.IsValid() }

func (l Localnet) setting(k *kernel.Kernel) (s sysctl.Setting, err error) {
	if l.Idle() {
		return s, nil
	}
	link, err := HostLink(k, l.Pod)
	if link != "" {
		s.Pairs = sysctl.Pairs{{Key: "net/ipv4/conf/" + link + "/route_localnet", Value: "1"}}
	}
	return s, err
}

func (l Localnet) Add(k *kernel.Kernel) error {
	s, err := l.setting(k)
	if err != nil {
		return err
	}
	return s.Add(k)
}

// Del resets it on the attachment's own link, which may be there for a while.
func (l Localnet) Del(*kernel.Kernel) error {
	return kernel.Gone(sysctl.Write("net/ipv4/conf/"+l.Own+"/route_localnet", "0"))
}

func (l Localnet) Check(k *kernel.Kernel) error {
	s, err := l.setting(k)
	if err != nil {
		return err
	}
	return s.Check(k)
}
