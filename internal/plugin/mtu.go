package plugin

import (
	"fmt"
	"strconv"

	"github.com/catena-cni/catena/internal/link"
)

// MTU is a number of bytes, or link.AutoMTU.
type MTU int

// mtuMax is the largest MTU of a veth and a bridge (ETH_MAX_MTU).
const mtuMax = 65535

// UnmarshalJSON takes a number or the word auto.
func (m *MTU) UnmarshalJSON(b []byte) error {
	if string(b) == `"auto"` {
		*m = link.AutoMTU
		return nil
	}
	n, err := strconv.Atoi(string(b))
	if err != nil || n < 0 || n > mtuMax {
		return fmt.Errorf(`mtu is %s, and can be 0 to %d or "auto"`, b, mtuMax)
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
