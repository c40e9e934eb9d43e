package plugin

import (
	"fmt"
	"net"
)

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
			return nil, fmt.Errorf("mac is %q: six bytes are wanted, as in 02:00:5e:10:00:01", text)
		case m[0]&1 != 0 || m.String() == "00:00:00:00:00:00":
			return nil, fmt.Errorf("mac is %v, which is no unicast address: the last bit of its first byte must be 0", m)
		}
		return m, nil
	}
	return nil, nil
}
