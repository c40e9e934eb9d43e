package plugin

import (
	"fmt"
	"strconv"

	"github.com/catena-cni/catena/internal/cni/conf"
	"github.com/catena-cni/catena/internal/fact/addr"
	"github.com/catena-cni/catena/internal/fact/link"
)

// MTU is a number of bytes, or link.AutoMTU.
type MTU int

// mtuMax is the largest MTU of a veth and a bridge (ETH_MAX_MTU).
const mtuMax = 65535

// mtuMin is the least that IPv4 works with (RFC 791).
const mtuMin = 68

// checkMTU refuses one that no address could stand on.
func checkMTU(mtu int) error {
	if 0 < mtu && mtu < mtuMin {
		return fmt.Errorf("mtu is %d, and can be %d or more, or 0", mtu, mtuMin)
	}
	return nil
}

// fits refuses an MTU that leaves no IPv6 on an interface, where the pod's has an
// address of it.
func (call Call) fits(mtu int) error {
	if mtu <= 0 || mtu >= addr.MTUMin6 {
		return nil
	}
	for _, p := range call.Prefixes() {
		if p.Addr().Is6() {
			return fmt.Errorf("mtu is %d, and must be %d or more for %v: IPv6 has no links with less (RFC 8200)", mtu, addr.MTUMin6, p)
		}
	}
	return nil
}

// UnmarshalJSON takes a number or the word auto.
func (m *MTU) UnmarshalJSON(b []byte) error {
	if string(b) == `"auto"` {
		*m = link.AutoMTU
		return nil
	}
	n, err := strconv.Atoi(string(b))
	if err != nil {
		return fmt.Errorf(`mtu is %s, and can be 0 to %d or "auto"`, b, mtuMax)
	}
	if n < 0 || n > mtuMax {
		return fmt.Errorf(`%w: mtu is %d, and can be 0 to %d or "auto"`, conf.ErrValue, n, mtuMax)
	}
	*m = MTU(n)
	return nil
}

// JSONSchema describes what UnmarshalJSON takes.
func (MTU) JSONSchema() map[string]any {
	return map[string]any{"anyOf": []any{
		map[string]any{"type": "integer", "minimum": 0, "maximum": mtuMax}, map[string]any{"const": "auto"},
	}}
}
