package nft

import (
	"fmt"
	"net"

	"github.com/catena-cni/catena/internal/name"
)

// Guard drops the frames that come out of a pod's host link under another
// hardware address than the pod's own.
// Without an address nothing is guarded.
func Guard(owner name.Attachment, mac net.HardwareAddr) Members {
	if mac == nil {
		return Members{Owner: owner, Kind: KindGuard, table: bridge}
	}
	link := owner.HostLink()
	return Members{Owner: owner, Kind: KindGuard, table: bridge, Elements: []Element{
		{Set: "guarded", Key: ifnameBytes(link), Text: fmt.Sprintf("%q", link)},
		{Set: "macs", Key: fields(ifnameBytes(link), mac), Text: fmt.Sprintf("%q . %v", link, mac)},
	}}
}
