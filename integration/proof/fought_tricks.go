package main

import "strings"

// trick is what a pod does to its own namespace, as root with all that it may do there, or what becomes of the path that the
// runtime knows it by.
type trick struct {
	what string
	pod  string // a script within the pod
	host string // a script on the node
	ends bool   // a virtual device that is in the pod has its end, or is out of reach
	// paired is for interfaces with an end on the host. No pod can move another, such as macvlan's, to the host's namespace:
	// who does that from the host, and may as well make one there, has a link of the host's, and it stays.
	paired bool
	// needs is a link that the kernel must be able to make, as ip link add takes it.
	needs string
}

// What scripts know: $IF is the interface; $ALIAS, $MAC, $ADDR (of IPv4) and $INDEX are its own, $HOSTLINK and $HOSTINDEX the
// name and number of its other end, $NS the pod's path; with OTHER before them ($OTHERALIAS, ...) they are those of another pod in
// the network. $HIDDEN is a namespace of the pod's own making, and $OTHERHOLDER and $HOSTHOLDER are processes in the other's
// namespace and in the host's.
var tricks = []trick{
	{what: "nothing"},
	{what: "renamed", pod: `ip link set $IF down; ip link set $IF name x0; ip link set x0 up`},
	{what: "renamed, the old name an alternative one", pod: `ip link set $IF down; ip link set $IF name x0; ip link property add dev x0 altname $IF`},
	{what: "renamed as a link of the host's", pod: `ip link set $IF down; ip link set $IF name $OTHERHOSTLINK`},
	{what: "alternative names of the host's links", pod: `ip link property add dev $IF altname $HOSTLINK altname $OTHERHOSTLINK altname uplink`},
	{what: "alias removed", pod: `ip link set $IF alias ""`},
	{what: "another's alias", pod: `ip link set $IF alias $OTHERALIAS`},
	{what: "another's alias, renamed", pod: `ip link set $IF down; ip link set $IF name x0 alias $OTHERALIAS`},
	{what: "an alias that is no text", pod: `ip link set $IF alias "$(printf 'a/b\nc/\033[31m/d')"`},
	{what: "hardware address changed", pod: `ip link set $IF address 02:00:00:00:00:99`},
	{what: "another's hardware address", pod: `ip link set $IF address $OTHERMAC`},
	{what: "another's alias, hardware address and addresses", pod: `ip addr flush dev $IF; ip link set $IF address $OTHERMAC alias $OTHERALIAS; ip addr add $OTHERADDR/24 dev $IF`},
	{what: "nothing of what it was", pod: `ip addr flush dev $IF; ip link set $IF down; ip link set $IF name x0 alias "" address 02:00:00:00:00:99 mtu 1300`},
	{what: "deleted", pod: `ip link del $IF`, ends: true},
	{what: "deleted, and a decoy of the name and alias", pod: `ip link del $IF; ip link add $IF type veth peer name d1; ip link set $IF alias $ALIAS`, ends: true},
	{what: "deleted, and a decoy of the name and hardware address", pod: `ip link del $IF; ip link add $IF address $MAC type veth peer name d1; ip addr add $ADDR/24 dev $IF`, ends: true},
	{what: "deleted, and a decoy with another's alias", pod: `ip link del $IF; ip link add $IF type bridge; ip link set $IF alias $OTHERALIAS`, ends: true},
	{what: "renamed, and decoys of the name and of the host's links", pod: `ip link set $IF down; ip link set $IF name x0 alias ""; ip link add $IF address 02:00:00:00:00:98 type veth peer name $HOSTLINK; ip link set $IF alias $ALIAS; ip link set $HOSTLINK alias $ALIAS; ip link add $OTHERHOSTLINK type bridge`},
	{what: "deleted, and a decoy that has the numbers of another's pair", pod: `ip link del $IF; ip link add $IF index $OTHERINDEX type veth peer name d1 index $OTHERHOSTINDEX netns $HIDDEN`, ends: true, paired: true},
	{what: "moved to a namespace of its own", pod: `ip link set $IF netns $HIDDEN`, ends: true},
	{what: "moved, renamed and without alias", pod: `ip link set $IF alias ""; ip link set $IF netns $HIDDEN name x0`, ends: true},
	{what: "moved, and a decoy in its place", pod: `ip link set $IF netns $HIDDEN; ip link add $IF address $MAC type veth peer name d1 netns $HIDDEN; ip link set $IF alias $ALIAS`, ends: true},
	{what: "a port of a bridge", pod: `ip link add b0 type bridge; ip link set $IF master b0; ip link set b0 up`},
	{what: "a port of a bond", pod: `ip link add b0 type bond; ip link set $IF down; ip link set $IF master b0`, needs: "probe type bond"},
	{what: "in a VRF", pod: `ip link add v0 type vrf table 77; ip link set $IF master v0`, needs: "probe type vrf table 77"},
	{what: "links upon it", pod: `ip link add m0 link $IF type macvlan mode bridge; ip link set m0 up; ip link add m1 link $IF type macvlan mode bridge`},
	{what: "a bridge of the interface's name", pod: `ip link set $IF down; ip link set $IF name x0; ip link add $IF type bridge; ip link set x0 master $IF; ip link set $IF alias $ALIAS`},
	{what: "down", pod: `ip link set $IF down; ip link set lo down`},
	{what: "MTU, queues and flags changed", pod: `ip link set $IF mtu 1280 txqueuelen 7 promisc on allmulticast on group 77 arp off`},
	{what: "addresses removed", pod: `ip addr flush dev $IF`},
	{what: "addresses of others", pod: `ip addr add $OTHERADDR/32 dev $IF; ip addr add 192.0.2.1/24 dev $IF; ip addr add 10.9.0.1/24 dev $IF; ip addr add fd00:9::1/64 dev $IF`},
	{what: "many addresses and routes", pod: `{ seq -f "addr add 10.77.%g.1/32 dev $IF" 250; seq -f "route add 10.78.%g.0/24 dev $IF" 250; seq -f "rule add from 10.79.%g.0/24 table 100" 250; } | ip -force -batch -`},
	{what: "routes removed", pod: `ip route flush table main; ip -6 route flush table main; ip route flush table local; ip route flush table 100`},
	{what: "routes in the tables of sbr and vrf", pod: `for t in 100 101 102 1 2; do ip route add blackhole default metric 7 table $t; ip -6 route add blackhole default metric 7 table $t; done`},
	{what: "rules removed", pod: `ip rule flush; ip -6 rule flush`},
	{what: "rules added", pod: `for t in 100 101 102; do ip rule add from $OTHERADDR table $t; ip rule add from $ADDR table $t priority 7; ip rule add not from all blackhole; done`},
	{what: "neighbours fixed", pod: `ip neigh replace 10.9.0.1 lladdr 02:00:00:00:00:97 dev $IF nud permanent`},
	{what: "sysctls changed", pod: `for k in net/core/somaxconn net/ipv4/conf/all/rp_filter net/ipv4/conf/$IF/route_localnet; do echo 2 >/proc/sys/$k; done; for k in net/ipv4/ip_forward net/ipv6/conf/all/forwarding net/ipv6/conf/all/disable_ipv6; do echo 1 >/proc/sys/$k; done`},
	{what: "nftables that drop all, in the suite's tables", pod: `nft 'table inet catena { chain i { type filter hook input priority 0; policy drop; }; chain o { type filter hook output priority 0; policy drop; }; set hostports4 { type ipv4_addr; }; }; table bridge catena { chain x { }; }'`},
	{what: "iptables that drop all, in the suite's chains", pod: `for i in iptables ip6tables; do $i -N CNI-FORWARD; $i -t nat -N CNI-HOSTPORT-DNAT; $i -P INPUT DROP; $i -P OUTPUT DROP; done`},
	{what: "traffic control replaced", pod: `tc qdisc replace dev $IF root handle 77: tbf rate 1mbit burst 10kb latency 10ms; tc qdisc add dev $IF clsact`},
	{what: "packet policies that block all", pod: `ip xfrm policy add src 0.0.0.0/0 dst 0.0.0.0/0 dir out action block; ip xfrm policy add src 0.0.0.0/0 dst 0.0.0.0/0 dir in action block`},
	{what: "loopback renamed, and a decoy", pod: `ip link set lo down; ip link set lo name l0; ip link add lo type bridge; ip link set lo up alias $ALIAS`},
	{what: "loopback without addresses", pod: `ip addr flush dev lo; ip link set lo mtu 1280`},
	{what: "moved away and back", pod: `ip link set $IF netns $HIDDEN; nsenter --net=$HIDDEN ip link set $IF netns $NS`},
	{what: "moved away and back, with another name and number", pod: `ip link set $IF netns $HIDDEN name x0; nsenter --net=$HIDDEN ip link set x0 alias "" netns $NS; ip link add b0 type bridge; ip link set b0 name $IF`},
	{what: "names swapped with a decoy that has all that it had", pod: `ip link add d0 type veth peer name d1; ip addr flush dev $IF; ip link set $IF down; ip link set $IF name x0 alias "" address 02:00:00:00:00:99; ip link set d0 name $IF address $MAC alias $ALIAS; ip addr add $ADDR/24 dev $IF; ip link set x0 name d0`, paired: true},
	{what: "links upon it in a namespace of their own", pod: `ip link add m0 link $IF type macvlan mode bridge; ip link set m0 netns $HIDDEN alias $ALIAS`},
	{what: "a pair into a namespace of its own", pod: `ip link add $HOSTLINK type veth peer name d1 netns $HIDDEN; ip link set $HOSTLINK alias $ALIAS; nsenter --net=$HIDDEN ip link set d1 alias $ALIAS`, paired: true},
	{what: "many links", pod: `{ seq -f "link add v%g type veth peer name w%g" 100; seq -f "link set v%g alias $ALIAS" 100; } | ip -force -batch -`},
	{what: "IPv6 switched off", pod: `echo 1 >/proc/sys/net/ipv6/conf/$IF/disable_ipv6; echo 1 >/proc/sys/net/ipv6/conf/lo/disable_ipv6`},
	{what: "too small for IPv6", pod: `ip link set $IF mtu 68`},
	{what: "an interface's own sysctls changed", pod: `for k in rp_filter proxy_arp arp_ignore arp_notify forwarding accept_local; do echo 1 >/proc/sys/net/ipv4/conf/$IF/$k; done; for k in accept_ra forwarding addr_gen_mode dad_transmits; do echo 1 >/proc/sys/net/ipv6/conf/$IF/$k; done`},
	{what: "neighbours answered for", pod: `for a in $OTHERADDR 10.9.0.1 192.0.2.1; do ip neigh add proxy $a dev $IF; done; ip -6 neigh replace fd00:9::1 lladdr 02:00:00:00:00:97 dev $IF nud permanent`},
	{what: "nexthops of its own", pod: `ip nexthop add id 1 dev $IF; ip nexthop add id 2 via 10.9.0.1 dev $IF onlink; ip route replace default nhid 2; ip route add 10.77.0.0/24 nhid 1`},
	{what: "filters on what comes in", pod: `tc qdisc add dev $IF ingress || true; tc filter add dev $IF ingress matchall action drop || true; nft "table netdev x { chain c { type filter hook ingress device $IF priority 0; policy drop; }; }" || true`},
	{what: "moved to the host's namespace", host: `nsenter --net=$NS ip link set $IF netns $$ name x0`, ends: true, paired: true},

	{what: "the path without a mount", host: `umount -l $NS`, ends: true},
	{what: "nothing at the path", host: gone, ends: true},
	{what: "nothing at the path, and a process that keeps the namespace", host: `nsenter --net=$NS sleep 30 >/dev/null 2>&1 & ` + gone, ends: true},
	{what: "a FIFO at the path", host: gone + `; mkfifo $NS`, ends: true},
	{what: "a folder at the path", host: gone + `; mkdir $NS`, ends: true},
	{what: "a device at the path", host: gone + `; ln -s /dev/zero $NS`, ends: true},
	{what: "a link to nowhere at the path", host: gone + `; ln -s /nowhere $NS`, ends: true},
	{what: "a link to itself at the path", host: gone + `; ln -s $NS $NS`, ends: true},
	{what: "a namespace of another kind at the path", host: gone + `; ln -s /proc/self/ns/mnt $NS`, ends: true},
	{what: "another pod's namespace at the path", host: gone + `; touch $NS; mount --bind $OTHERNS $NS`, ends: true},
	{what: "a process of another pod's at the path", host: gone + `; ln -s /proc/$OTHERHOLDER/ns/net $NS`, ends: true},
	{what: "the host's namespace at the path", host: gone + `; touch $NS; mount --bind /proc/self/ns/net $NS`, ends: true},
	{what: "a link to the host's namespace at the path", host: gone + `; ln -s /proc/$HOSTHOLDER/ns/net $NS`, ends: true},
	{what: "an empty namespace at the path", host: gone + `; touch $NS; unshare --net=$NS true`, ends: true},
	{what: "renamed, and another pod's namespace at the path", pod: `ip link set $IF alias $OTHERALIAS address $OTHERMAC`, host: gone + `; touch $NS; mount --bind $OTHERNS $NS`, ends: true},
	{what: "moved, and nothing at the path", pod: `ip link set $IF alias ""; ip link set $IF netns $HIDDEN name x0`, host: gone, ends: true},
}

const gone = `umount -l $NS; rm $NS`

// hidden reports whether the pod makes a namespace of its own.
func (t trick) hidden() bool { return strings.Contains(t.pod, "$HIDDEN") }
