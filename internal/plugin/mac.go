package plugin

import (
	"fmt"
	"net"
)

// RuntimeMAC is the part of the configuration that plugins have in common whose
// runtime can give the pod's hardware address.
type RuntimeMAC struct {
	RuntimeConfig struct { // the capability ips is IPAM's
		MAC string `json:"mac" doc:"capability mac: the pod's hardware address"`
	} `json:"runtimeConfig" lint:"-" doc:"values of the capabilities; the runtime adds it"`
	CNIArgs struct {
		CNI struct {
			MAC string `json:"mac" doc:"the pod's hardware address"`
		} `json:"cni"`
	} `json:"args" lint:"-" doc:"optional arguments"`
}

// FirstMAC is the hardware address that the runtime gives, or else the
// configuration's own. Where neither gives one, it is nil.
func (r RuntimeMAC) FirstMAC(call *Call, own string) (net.HardwareAddr, error) {
	return FirstMAC(r.RuntimeConfig.MAC, r.CNIArgs.CNI.MAC, call.Args["MAC"], own)
}

// FirstMAC reads the first hardware address that is given, of several places
// that it can come from. None is nil. It must be an Ethernet unicast address.
func FirstMAC(places ...string) (net.HardwareAddr, error) {
	for _, text := range places {
		if text == "" {
			continue
		}
		m, err := net.ParseMAC(text)
		switch {
		case err != nil || len(m) != 6:
			return nil, fmt.Errorf("mac is %q, which is no address of six bytes, such as 02:00:5e:10:00:01", text)
		case m.String() == "00:00:00:00:00:00":
			return nil, fmt.Errorf("mac is %v, which is no interface's: it stands for no address", m)
		case m[0]&1 != 0:
			return nil, fmt.Errorf("mac is %v, which is no unicast address: the last bit of its first byte must be 0", m)
		}
		return m, nil
	}
	return nil, nil
}
