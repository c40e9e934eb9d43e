// Package name derives the names that an attachment leaves on a node (links,
// hardware addresses, keys, comments) from the attachment alone, so that a DEL
// finds everything without memory, addresses or a network namespace.
package name

import (
	"encoding/binary"
	"fmt"
	"net"
	"strings"
)

// Attachment is what the CNI specification keys everything by: one interface
// of one container in one network.
type Attachment struct {
	Network     string
	ContainerID string
	IfName      string
}

// String is the attachment as people read it in aliases, comments and errors.
// No part can contain a slash, so the text is unambiguous.
func (a Attachment) String() string {
	return a.Network + "/" + a.ContainerID + "/" + a.IfName
}

// text is what is hashed for one purpose. The separator cannot occur in any part,
// so ("a", "bc") and ("ab", "c") differ.
func (a Attachment) text(purpose string) string { return purpose + "\x00" + a.String() }

// hostLinkDigits fills up the 15 characters that an interface name may have.
const hostLinkDigits = 11

// HostLink is the name of the host's end of the attachment's link.
func (a Attachment) HostLink() string {
	return "veth" + Digits(a.text("link"))[:hostLinkDigits]
}

// MAC is a locally administered unicast address for one end of the
// attachment's link. An address given at creation is left alone by udev.
func (a Attachment) MAC(end string) net.HardwareAddr {
	h := Hash(a.text("mac " + end))
	m := net.HardwareAddr(h[:6])
	m[0] = m[0]&^0x01 | 0x02
	return m
}

// Label is a number, never 0, for what has room for no more than one, such as
// the rules that the attachment has in its pod.
func (a Attachment) Label(purpose string) uint32 {
	h := Hash(a.text("label " + purpose))
	return binary.BigEndian.Uint32(h[:]) | 1
}

// Key names the attachment's files. It is safe as a file name and has a fixed
// length whatever the attachment's parts are.
func (a Attachment) Key() string { return Digits(a.text("key")) }

const (
	// AliasMax is the kernel's IFALIASZ less its final zero byte.
	AliasMax = 255
	// commentMax is what the nft program accepts in a comment
	// (NFTNL_UDATA_COMMENT_MAXLEN less its final zero byte).
	commentMax = 127
)

// Alias is the text that the attachment's host link carries as its alias.
func (a Attachment) Alias() string { return a.bounded(AliasMax) }

// Comment is the text that the attachment's nftables elements carry.
func (a Attachment) Comment() string { return a.bounded(commentMax) }

// bounded is the attachment as text of at most limit bytes. What had to be cut
// ends in a hash, so that it still names one attachment only.
func (a Attachment) bounded(limit int) string {
	s := a.String()
	if len(s) <= limit {
		return s
	}
	tail := "~" + Digits(a.text("text"))[:16]
	return s[:limit-len(tail)] + tail
}

// Parse reads an attachment from the text that String gave. Text that was cut
// is refused: it cannot be read back.
func Parse(text string) (Attachment, error) {
	parts := strings.Split(text, "/")
	if len(parts) != 3 || parts[0] == "" || parts[1] == "" || parts[2] == "" || strings.Contains(text, "~") {
		return Attachment{}, fmt.Errorf("%q names no attachment: network/containerID/ifname is wanted", text)
	}
	return Attachment{Network: parts[0], ContainerID: parts[1], IfName: parts[2]}, nil
}
