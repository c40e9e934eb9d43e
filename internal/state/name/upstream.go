package name

// Upstream's plugins name what an attachment leaves in the packet filter by
// hashes of its parts, put behind one another without anything in between.

// chainMax is the longest name that iptables takes for a chain
// (XT_EXTENSION_MAXNAMELEN less its final zero byte).
const chainMax = 28

// UpstreamChain is the attachment's chain of iptables, whose name begins with a
// prefix such as CNI-DN-. All interfaces of a container in a network share it.
func (a Attachment) UpstreamChain(prefix string) string {
	return (prefix + Digits(a.Network+a.ContainerID))[:chainMax]
}

// linkMax is the longest name of an interface (IFNAMSIZ less its final zero byte).
const linkMax = 15

// UpstreamLink is a device on the host that upstream's plugins name by a prefix,
// such as bwp. All interfaces of a container in a network share it.
func (a Attachment) UpstreamLink(prefix string) string {
	return (prefix + Digits(a.Network+a.ContainerID))[:linkMax]
}

// UpstreamInstance is what the comments of the attachment's masquerading rules
// of nftables begin with.
func (a Attachment) UpstreamInstance() string {
	return UpstreamNetwork(a.Network) + short(a.IfName+":"+a.ContainerID)
}

// UpstreamNetwork is what the comments of all of a network's begin with.
func UpstreamNetwork(network string) string { return short(network) + "-" }

func short(text string) string { return Digits(text)[:16] }
