package main

import (
	"strings"
)

// chain is a list of plugins that force is used on.
type chain struct {
	name    string
	plugins string   // their configurations, as a list in JSON
	first   int      // the first of them that force is used on; those before have a chain of their own
	prepare string   // a script that is run on the node
	pod     string   // one that is run in each pod
	anew    string   // a script that takes away what pods share, before each point
	servers []string // programs that run as long as the node is there; $CNI_PATH is the plugins' folder
	rests   string   // a script that succeeds where the servers have nothing of a pod any more
	needs   string   // a link that the kernel must be able to make, as ip link add takes it
	once    bool     // what it attaches ends with the pod's namespace
}

// The addresses come from ranges of few, so that an address that is lost is missed.
const (
	hostLocal = `"ipam":{"type":"host-local","ranges":[[{"subnet":"10.9.0.0/29","rangeStart":"10.9.0.2","rangeEnd":"10.9.0.3"}],` +
		`[{"subnet":"fd00:9::/64","rangeStart":"fd00:9::2","rangeEnd":"fd00:9::3"}]],"routes":[{"dst":"0.0.0.0/0"},{"dst":"::/0"}]}`
	bridged = `{"type":"bridge","bridge":"cni0","isGateway":true,"ipMasq":true,"macspoofchk":true,` + hostLocal + `}`
	plain   = `{"type":"bridge","bridge":"cni0","isGateway":true,` + hostLocal + `}`
	ports   = `"runtimeConfig":{"portMappings":[{"hostPort":8080,"containerPort":80,"protocol":"tcp"},{"hostPort":8053,"containerPort":53,"protocol":"udp"}]}`
	tuned   = `{"type":"tuning","mac":"02:00:00:00:11:22","promisc":true,"mtu":1400,"sysctl":{"net.core.somaxconn":"1000","net.ipv4.conf.IFNAME.arp_filter":"1"}}`
	limited = `{"type":"bandwidth","ingressRate":100000000,"ingressBurst":800000,"egressRate":50000000,"egressBurst":800000}`
	vlans   = "probe type bridge vlan_filtering 1"
	eth1    = "ip link add eth1 type veth peer name lan1 netns outside && ip link set eth1 up && ip addr add 172.16.65.2/24 dev eth1"
)

// dhcpServers are the daemon, and a server on the network outside. It writes at once what it lends and what is given back, into
// a file of the node's.
var dhcpServers = []string{"$CNI_PATH/dhcp daemon", "nsenter --net=/run/netns/outside dnsmasq --keep-in-foreground --conf-file=/dev/null --user=root --group=root" +
	" --port=0 --interface=node --bind-interfaces --dhcp-leasefile=/run/leases --pid-file= --no-ping --dhcp-authoritative --enable-ra" +
	" --dhcp-range=192.0.2.100,192.0.2.101,255.255.255.0,1h --dhcp-range=2001:db8::100,2001:db8::101,64,1h"}

const (
	dhcpPrepare = "echo 0 >/proc/sys/net/ipv6/conf/uplink/accept_ra"   // the server's routers are the pods'
	noLook      = "echo 0 >/proc/sys/net/ipv6/conf/default/accept_dad" // for duplicates, which takes seconds
	// The server empties its file and writes all of it at once, its own name after what is lent over IPv4.
	dhcpRests = `awk '/192.0.2|2001:db8/ {lent = 1} /^duid/ {whole = 1} END {exit lent || !whole}' /run/leases`
)

// chains are every plugin, alone with its IPAM or behind a bridge, and the long ones.
var chains = []chain{
	{name: "bridge", plugins: `[` + bridged + `]`},
	{name: "bridge, iptables", plugins: `[` + strings.Replace(bridged, `"ipMasq"`, `"ipMasqBackend":"iptables","ipMasq"`, 1) + `]`},
	{name: "bridge, static", plugins: `[{"type":"bridge","bridge":"cni0","isGateway":true,"ipam":{"type":"static","addresses":[{"address":"10.9.0.2/24","gateway":"10.9.0.1"}],"routes":[{"dst":"0.0.0.0/0"}]}}]`},
	{name: "bridge, vlan", plugins: `[{"type":"bridge","bridge":"cni0","isGateway":true,"vlan":100,` + hostLocal + `}]`, needs: vlans},
	{name: "bridge, vlanTrunk", plugins: `[{"type":"bridge","bridge":"cni0","vlan":7,"vlanTrunk":[{"id":5},{"minID":100,"maxID":110}],` + hostLocal + `}]`, needs: vlans},
	{name: "ptp", plugins: `[{"type":"ptp","ipMasq":true,` + hostLocal + `}]`},
	{name: "macvlan", plugins: `[{"type":"macvlan","master":"uplink",` + hostLocal + `}]`},
	{name: "ipvlan", plugins: `[{"type":"ipvlan","master":"uplink",` + hostLocal + `}]`, needs: "probe link uplink type ipvlan"},
	{name: "vlan", plugins: `[{"type":"vlan","master":"uplink","vlanId":100,` + hostLocal + `}]`, needs: "probe link uplink type vlan id 5"},
	{name: "dummy", plugins: `[{"type":"dummy",` + hostLocal + `}]`, needs: "probe type dummy"},
	{name: "tap", plugins: `[{"type":"tap",` + hostLocal + `}]`},
	{name: "host-device", plugins: `[{"type":"host-device","device":"eth1",` + hostLocal + `}]`, prepare: eth1, once: true},
	{name: "loopback", plugins: `[{"type":"loopback"}]`},
	{name: "portmap", plugins: `[` + plain + `,{"type":"portmap",` + ports + `}]`, first: 1},
	{name: "portmap, iptables", plugins: `[` + plain + `,{"type":"portmap","backend":"iptables",` + ports + `}]`, first: 1},
	{name: "firewall", plugins: `[` + plain + `,{"type":"firewall","ingressPolicy":"same-bridge"}]`, first: 1},
	{name: "firewall, iptables", plugins: `[` + plain + `,{"type":"firewall","backend":"iptables","ingressPolicy":"same-bridge"}]`, first: 1},
	{name: "tuning", plugins: `[` + plain + `,` + tuned + `]`, first: 1},
	{name: "bandwidth", plugins: `[` + plain + `,` + limited + `]`, first: 1},
	{name: "sbr", plugins: `[` + plain + `,{"type":"sbr"}]`, first: 1},
	{name: "vrf", plugins: `[` + plain + `,{"type":"vrf","vrfname":"blue"}]`, first: 1, needs: "probe type vrf table 10"},
	{name: "dhcp", plugins: `[{"type":"macvlan","master":"uplink","ipam":{"type":"dhcp"}}]`,
		prepare: dhcpPrepare, servers: dhcpServers, rests: dhcpRests},
	{name: "dhcp, both families", plugins: `[{"type":"macvlan","master":"uplink","ipam":{"type":"dhcp","family":["4","6"]}}]`,
		prepare: dhcpPrepare, pod: noLook, servers: dhcpServers, rests: dhcpRests},
	{name: "flannel", plugins: `[{"type":"flannel","subnetFile":"/run/subnet.env","delegate":{"isDefaultGateway":true}}]`,
		prepare: `printf 'FLANNEL_NETWORK=10.9.0.0/16\nFLANNEL_SUBNET=10.9.1.1/24\nFLANNEL_MTU=1450\nFLANNEL_IPMASQ=true\n' >/run/subnet.env`},
	{name: "the long chain", plugins: long},
	{name: "the long chain, iptables", plugins: longIPTables},
	{name: "the long chain, first", plugins: long, anew: nobody},
	{name: "the long chain, iptables, first", plugins: longIPTables, anew: nobody},
}

var (
	long         = `[` + bridged + `,{"type":"portmap",` + ports + `},` + tuned + `,{"type":"firewall"},` + limited + `]`
	longIPTables = `[` + strings.Replace(bridged, `"ipMasq"`, `"ipMasqBackend":"iptables","ipMasq"`, 1) + `,{"type":"portmap","backend":"iptables",` + ports + `},` + tuned +
		`,{"type":"firewall","backend":"iptables"},` + limited + `]`
)

// nobody makes the node one that no pod was ever on.
const nobody = `ip link del cni0; nft flush ruleset; rm -rf /run/catena /var/lib/cni/networks; echo 0 >/proc/sys/net/ipv4/ip_forward; echo 0 >/proc/sys/net/ipv6/conf/all/forwarding`
