package plugin_test

import (
	"bytes"
	"net/netip"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// TestNeighboursAreTold: an address that another pod had before is on the new
// one's hardware address everywhere at once.
func TestNeighboursAreTold(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.Must(w.call("ADD", conf("1.0.0", "")))
	w.Must(w.call("DEL", conf("1.0.0", "")))
	// A neighbour on the bridge, which hears what everybody hears.
	w.Run("ip link add ear type veth peer name ear0; ip link set ear0 master br0; ip link set ear0 up; ip link set ear up")
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, int(htons(unix.ETH_P_ALL)))
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	timeout := unix.NsecToTimeval(int64(3 * time.Second))
	if err := unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &timeout); err != nil {
		t.Fatal(err)
	}
	w.Must(w.call("ADD", conf("1.0.0", "")))

	four, six := netip.MustParseAddr("10.1.2.3").As4(), netip.MustParseAddr("fd00::3").As16()
	var arp, na bool
	frame := make([]byte, 2048)
	for deadline := time.Now().Add(3 * time.Second); !(arp && na) && time.Now().Before(deadline); {
		n, _, err := unix.Recvfrom(fd, frame, 0)
		if err != nil {
			break
		}
		f := frame[:n]
		switch {
		case n >= 42 && f[12] == 8 && f[13] == 6: // ARP: sender and target are the pod's address
			arp = arp || bytes.Equal(f[28:32], four[:]) && bytes.Equal(f[38:42], four[:])
		case n >= 78 && f[12] == 0x86 && f[13] == 0xdd && f[54] == 136: // a neighbour advertisement
			na = na || bytes.Equal(f[62:78], six[:])
		}
	}
	if !arp || !na {
		t.Errorf("heard of the IPv4 address: %t, of the IPv6 address: %t", arp, na)
	}
}

func htons(n uint16) uint16 { return n<<8 | n>>8 }
