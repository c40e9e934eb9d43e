package kernel

import (
	"net"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// MTU is a link's MTU, for SetLink and Execute; 0 is no attribute.
func MTU(bytes int) *nl.RtAttr {
	if bytes == 0 {
		return nil
	}
	return nl.NewRtAttr(unix.IFLA_MTU, nl.Uint32Attr(uint32(bytes)))
}

// MAC is a link's hardware address; nil is no attribute.
func MAC(mac net.HardwareAddr) *nl.RtAttr {
	if mac == nil {
		return nil
	}
	return nl.NewRtAttr(unix.IFLA_ADDRESS, mac)
}

// Name is a link's name.
func Name(name string) *nl.RtAttr { return nl.NewRtAttr(unix.IFLA_IFNAME, nl.ZeroTerminated(name)) }

// Alias is a link's alias. An empty one is none.
func Alias(alias string) *nl.RtAttr { return nl.NewRtAttr(unix.IFLA_IFALIAS, []byte(alias)) }

// Master is the index of a link's master, 0 for none.
func Master(index int) *nl.RtAttr {
	return nl.NewRtAttr(unix.IFLA_MASTER, nl.Uint32Attr(uint32(index)))
}

// NetnsFD is the namespace that a link is to be in, by its open file.
func NetnsFD(fd int) *nl.RtAttr {
	return nl.NewRtAttr(unix.IFLA_NET_NS_FD, nl.Uint32Attr(uint32(fd)))
}
