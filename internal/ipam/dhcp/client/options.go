package client

import (
	"fmt"
	"slices"
	"strconv"

	"github.com/insomniacslk/dhcp/dhcpv4"

	"github.com/catena-cni/catena/internal/state/name"
)

// optionNames are the names by which upstream's configuration knows options
// (those of dhcp-options(5)).
var optionNames = map[string]uint8{
	"subnet-mask": 1, "routers": 3, "host-name": 12, "vendor-class-identifier": 60, "dhcp-client-identifier": 61, "user-class": 77,
}

// Option reads the name or the number of an option.
func Option(text string) (uint8, error) {
	if code, ok := optionNames[text]; ok {
		return code, nil
	}
	n, err := strconv.ParseUint(text, 10, 8)
	if err != nil || n == 0 || n == 255 { // padding, and the end
		return 0, fmt.Errorf("%q is no DHCP option: it is a number from 1 to 254, or subnet-mask, routers, host-name, vendor-class-identifier, dhcp-client-identifier or user-class", text)
	}
	return uint8(n), nil
}

// OwnOption reports whether an option is part of the conversation, and not the
// configuration's to set.
func OwnOption(code uint8) bool {
	return slices.Contains([]uint8{
		dhcpv4.OptionRequestedIPAddress.Code(), dhcpv4.OptionOptionOverload.Code(), dhcpv4.OptionDHCPMessageType.Code(),
		dhcpv4.OptionServerIdentifier.Code(), dhcpv4.OptionParameterRequestList.Code(), dhcpv4.OptionMaximumDHCPMessageSize.Code(),
	}, code)
}

// OptionMax is how many bytes an option can have, as a server reads it in one
// piece.
const OptionMax = 255

// The options that this package itself looks at.
var (
	optClientID = dhcpv4.OptionClientIdentifier.Code()
	asked       = []uint8{
		dhcpv4.OptionClasslessStaticRoute.Code(), // before the two that it stands in for (RFC 3442)
		dhcpv4.OptionSubnetMask.Code(), dhcpv4.OptionRouter.Code(), dhcpv4.OptionStaticRoutingTable.Code(),
		dhcpv4.OptionDomainNameServer.Code(), dhcpv4.OptionDomainName.Code(), dhcpv4.OptionDNSDomainSearchList.Code(),
		dhcpv4.OptionInterfaceMTU.Code(), dhcpv4.OptionNTPServers.Code(),
		dhcpv4.OptionIPAddressLeaseTime.Code(), dhcpv4.OptionRenewTimeValue.Code(), dhcpv4.OptionRebindingTimeValue.Code(),
	}
)

// Asked is the list of options that a server is asked for: the configuration's
// first, then ours unless they are not wanted.
func Asked(own []uint8, skipOurs bool) []uint8 {
	list := slices.Clone(own)
	for _, code := range asked {
		if !skipOurs && !slices.Contains(list, code) {
			list = append(list, code)
		}
	}
	return list
}

// clientIDMax leaves room for the type in what upstream allows of a client id.
const clientIDMax = 254

// ClientID is upstream's client identifier of an attachment, by which servers
// know pods again: the type 0, and a text.
func ClientID(at name.Attachment) []byte {
	text := at.ContainerID + "/" + at.Network + "/" + at.IfName
	return append([]byte{0}, text[:min(len(text), clientIDMax)]...)
}
