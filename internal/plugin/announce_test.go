package plugin_test

import "testing"

// TestNeighboursAreTold: an address that another pod had before is on the new
// one's hardware address everywhere at once.
func TestNeighboursAreTold(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.Must(w.call("ADD", conf("1.0.0", "")))
	w.Must(w.call("DEL", conf("1.0.0", "")))
	// A neighbour on the bridge, which hears what everybody hears.
	w.Run("ip link add ear type veth peer name ear0; ip link set ear0 master br0; ip link set ear0 up; ip link set ear up")
	ear := w.Listen()
	w.Must(w.call("ADD", conf("1.0.0", "")))
	ear.Announced("10.1.2.3", "fd00::3")
}
