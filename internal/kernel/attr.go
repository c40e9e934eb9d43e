package kernel

import (
	"encoding/binary"
	"net"
	"syscall"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"

	"github.com/catena-cni/catena/internal/state/name"
)

// Attr is an attribute; one without a value is none.
func Attr(kind int, value []byte) *nl.RtAttr {
	if len(value) == 0 {
		return nil
	}
	return nl.NewRtAttr(kind, value)
}

// Number is an attribute of 32 bits.
func Number[N int | uint32](kind int, n N) *nl.RtAttr {
	return nl.NewRtAttr(kind, nl.Uint32Attr(uint32(n)))
}

// MTU is a link's MTU; 0 is no attribute.
func MTU(bytes int) *nl.RtAttr {
	if bytes == 0 {
		return nil
	}
	return Number(unix.IFLA_MTU, bytes)
}

// MAC is a link's hardware address; nil is no attribute.
func MAC(mac net.HardwareAddr) *nl.RtAttr { return Attr(unix.IFLA_ADDRESS, mac) }

// Name is a link's name.
func Name(name string) *nl.RtAttr { return nl.NewRtAttr(unix.IFLA_IFNAME, nl.ZeroTerminated(name)) }

// Alias is a link's alias. An empty one is none.
func Alias(alias string) *nl.RtAttr { return nl.NewRtAttr(unix.IFLA_IFALIAS, []byte(alias)) }

// Group is the number of a link's group.
func Group(number uint32) *nl.RtAttr { return Number(unix.IFLA_GROUP, number) }

// TxQLen is how many packets wait to be sent.
func TxQLen(packets int) *nl.RtAttr { return Number(unix.IFLA_TXQLEN, packets) }

// Master is the index of a link's master, 0 for none.
func Master(index int) *nl.RtAttr { return Number(unix.IFLA_MASTER, index) }

// NetnsFD is the namespace that a link is to be in, by its open file.
func NetnsFD(fd int) *nl.RtAttr { return Number(unix.IFLA_NET_NS_FD, fd) }

// Newborn is the group that a link of the host's is made in. The kernel takes no
// alias with a new link. An ADD that is killed before the message that has it leaves
// a link that is in the network's group still, for GC.
func Newborn(network string) uint32 {
	h := name.Hash("newborn\x00" + network)
	return groups | binary.BigEndian.Uint32(h[:])
}

// groups have this bit: people number theirs from 0 on.
const groups = 1 << 31

// Grown is the alias of a link that was made as Newborn, and the end of that.
func Grown(alias string) []*nl.RtAttr { return []*nl.RtAttr{Alias(alias), Group(0)} }

// Attrs reads the attributes of an answer.
func Attrs(b []byte) ([]syscall.NetlinkRouteAttr, error) { return nl.ParseRouteAttr(padded(b)) }

// AttrsByKind is Attrs, the last of each kind.
func AttrsByKind(b []byte) (map[uint16]syscall.NetlinkRouteAttr, error) {
	return nl.ParseRouteAttrAsMap(padded(b))
}

// padded is for the library, which reads beyond the end where the last attribute is
// not padded.
func padded(b []byte) []byte { return append(b[:len(b):len(b)], make([]byte, -len(b)&3)...) }

// Uint32 is the value of an attribute of 32 bits, 0 where it is none.
func Uint32(value []byte) uint32 {
	if len(value) != 4 {
		return 0
	}
	return binary.NativeEndian.Uint32(value)
}
