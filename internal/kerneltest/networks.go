package kerneltest

// TwoNetworks is a shell command that makes interfaces of two networks in the
// pod: mgmt0 with the default routes, and eth0 with routes of every sort. Their
// other ends, hmgmt0 and heth0, are on the host. It ends when the kernel has
// nothing more to do for them.
const TwoNetworks = `for l in mgmt0:10.9.0.2/24:fd00:9::2/64 eth0:10.1.2.3/24:fd00:1:2::3/64; do
	n=${l%%:*}; six=${l#*:*:}; four=${l#*:}; four=${four%%:*}
	ip link add h$n type veth peer name $n netns "$POD"; ip link set h$n up; pod ip link set $n up; pod ip addr add $four dev $n; pod ip addr add $six dev $n nodad
done
pod ip link set lo up
pod ip route add default via 10.9.0.1 dev mgmt0 metric 5
pod ip -6 route add default via fd00:9::1 dev mgmt0 metric 5
pod ip route add default nexthop via 10.1.2.1 dev eth0 nexthop via 10.1.2.2 dev eth0 weight 3
pod ip route add 10.77.0.0/16 via 10.1.2.1 dev eth0 mtu 1400
pod ip route add 10.78.0.0/16 dev eth0 metric 7
pod ip -6 route add default nexthop via fd00:1:2::1 dev eth0 nexthop via fe80::1 dev eth0
pod ip -6 route add fd00:77::/48 via fd00:1:2::1 dev eth0 metric 9
until [ "$(pod ip -6 route show table local | grep -c '^ff00::/8\|^multicast ff00::/8\|^local fd00')" = 4 ]; do sleep 0.02; done
`

// TwoNetworksPrev is the member prevResult of a configuration, with what the
// plugin that made eth0 would have said of it.
const TwoNetworksPrev = `"prevResult":{"cniVersion":"1.1.0","interfaces":[{"name":"eth0","mac":"02:00:00:00:00:01","mtu":1500,"sandbox":"/n"}],` +
	`"ips":[{"address":"10.1.2.3/24","gateway":"10.1.2.1","interface":0},{"address":"fd00:1:2::3/64","gateway":"fd00:1:2::1","interface":0}],` +
	`"routes":[{"dst":"0.0.0.0/0"},{"dst":"10.77.0.0/16"},{"dst":"fd00:77::/48"}]}`
