package integration

import (
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"github.com/catena-cni/catena/integration/node"
	"github.com/catena-cni/catena/internal/kerneltest"
	"github.com/containernetworking/cni/libcni"
)

const subnetEnv = "/run/flannel/subnet.env"

// TestFlannelByHand is the guides' lease and configuration, word for word.
func TestFlannelByHand(t *testing.T) {
	t.Parallel()
	n := newNode(t)
	must(t, n.WriteFile(subnetEnv, "FLANNEL_NETWORK=192.168.0.0/16\nFLANNEL_SUBNET=192.168.22.129/26\nFLANNEL_MTU=1450\nFLANNEL_IPMASQ=false\n"))
	before := text(t, n)
	p := newPod(t, n, "12345678")
	const conf = `{"name":"mynet","type":"flannel"}`
	out, err := byHand(n, "ADD", "flannel", p.ID, p.Path, "eth0", conf)
	must(t, err)
	sameJSON(t, out, `{"cniVersion":"0.1.0","ip4":{"ip":"192.168.22.130/26","gateway":"192.168.22.129","routes":[{"dst":"192.168.0.0/16"}]},"dns":{}}`)
	shown, err := p.Run("ip", "addr", "show", "dev", "eth0")
	must(t, err)
	for _, want := range []string{"mtu 1450", "inet 192.168.22.130/26"} {
		if !strings.Contains(shown, want) {
			t.Errorf("eth0 has no %q:\n%s", want, shown)
		}
	}
	must(t, p.Ping("192.168.22.129"))
	_, err = byHand(n, "DEL", "flannel", p.ID, p.Path, "eth0", conf)
	must(t, err)
	must(t, p.Remove())
	noneLeft(t, n, before, "cni0")
}

// member is a node of a cluster, the first or the second, with flanneld's part of its network.
type member struct {
	*node.Node
	number int
	list   *libcni.NetworkConfigList
	r      *node.Runtime
}

// vxlans are the links that flanneld makes, one for each family. A %d is the number of a node.
var vxlans = []struct{ link, wire, wireBits, own, subnet, mac, family string }{
	{"flannel.1", "198.51.100.%d", "/24", "10.244.%d.0", "10.244.%d.0/24", "02:00:00:00:04:0%d", "-4"},
	{"flannel-v6.1", "2001:db8:1::%d", "/64", "fd00:244:0:%d::", "fd00:244:0:%d::/64", "02:00:00:00:06:0%d", "-6"},
}

const lease = `FLANNEL_NETWORK=10.244.0.0/16
FLANNEL_SUBNET=10.244.%[1]d.1/24
FLANNEL_IPV6_NETWORK=fd00:244::/48
FLANNEL_IPV6_SUBNET=fd00:244:0:%[1]d::1/64
FLANNEL_MTU=1430
FLANNEL_IPMASQ=true
`

// flanneld makes what flanneld's backend vxlan does: a link over the wire for each family, and on it a route, a neighbour
// and a place for the other node's subnet.
func (m member) flanneld(t *testing.T) {
	t.Helper()
	at := func(pattern string, number int) string { return fmt.Sprintf(pattern, number) }
	me, other := m.number, 3-m.number
	for _, v := range vxlans {
		nodad := ""
		if v.family == "-6" {
			nodad = " nodad"
		}
		for _, args := range []string{
			"ip addr add " + at(v.wire, me) + v.wireBits + " dev wire" + nodad,
			"ip link add " + v.link + " address " + at(v.mac, me) + " type vxlan id 1 local " + at(v.wire, me) + " dev wire dstport 8472 nolearning",
			"ip link set " + v.link + " up",
			"ip addr add " + at(v.own, me) + " dev " + v.link + nodad,
			"ip " + v.family + " route add " + at(v.subnet, other) + " via " + at(v.own, other) + " dev " + v.link + " onlink",
			"ip neigh add " + at(v.own, other) + " lladdr " + at(v.mac, other) + " dev " + v.link + " nud permanent",
			"bridge fdb append " + at(v.mac, other) + " dev " + v.link + " dst " + at(v.wire, other) + " self permanent",
		} {
			words := strings.Fields(args)
			_, err := m.Run(words[0], words[1:]...)
			must(t, err)
		}
	}
}

// TestFlannel has two nodes with a link of VXLAN between them, and pods on each that reach one another.
func TestFlannel(t *testing.T) {
	t.Parallel()
	kerneltest.Needs(t, "vxlan")
	var nodes [2]member
	for i := range nodes {
		list, err := node.Load(filepath.Join(examples, "10-flannel.conflist"), "1.1.0")
		must(t, err)
		n := newNode(t)
		nodes[i] = member{n, i + 1, list, n.Runtime(nil, plugins)}
	}
	must(t, nodes[0].Join(nodes[1].Node, "wire"))
	var before [2]string
	for i, m := range nodes {
		m.flanneld(t)
		if err := m.r.Status(m.list); err == nil || !strings.Contains(err.Error(), "flanneld has not written its lease yet") || !strings.Contains(err.Error(), subnetEnv) {
			t.Errorf("STATUS without a lease: %v", err)
		}
		must(t, m.WriteFile(subnetEnv, fmt.Sprintf(lease, m.number)))
		must(t, m.r.Status(m.list))
		before[i] = text(t, m.Node)
	}

	var pods []node.Attachment // two on the first node and one on the second
	var addresses [][]string
	for i, m := range []member{nodes[0], nodes[0], nodes[1]} {
		a := node.Attachment{Pod: newPod(t, m.Node, fmt.Sprint("pod", i)), List: m.list, IfName: "eth0"}
		if i == 2 {
			a.Ports = []node.Port{{HostPort: 8080, ContainerPort: 80, Protocol: "tcp"}}
		}
		result, err := m.r.Add(a)
		must(t, err)
		must(t, m.r.Check(a))
		serve(t, &a.Pod.Space, 80)
		pods, addresses = append(pods, a), append(addresses, addrs(t, result, ""))
	}
	for i, from := range pods {
		for j, to := range addresses {
			if i == j {
				continue
			}
			for family, addr := range to {
				// The largest packet that needs no fragments, less its headers.
				size := []string{"1402", "1382"}[family]
				_, err := from.Pod.Run("ping", "-n", "-c", "1", "-W", "5", "-M", "do", "-s", size, addr)
				must(t, err)
				seen(t, &from.Pod.Space, "tcp", addr, 80, addresses[i][family])
			}
		}
	}
	seen(t, &nodes[0].Space, "tcp", "198.51.100.2", 8080, "198.51.100.1")

	// One node's flanneld is gone by the time that the pods end, the other runtime has forgotten its pod.
	_, err := nodes[0].Run("rm", subnetEnv)
	must(t, err)
	for _, a := range pods[:2] {
		must(t, errors.Join(nodes[0].r.Del(a), a.Pod.Remove(), nodes[0].r.Del(a)))
	}
	must(t, nodes[0].r.GC(nodes[0].list))
	must(t, nodes[0].WriteFile(subnetEnv, fmt.Sprintf(lease, 1)))
	must(t, errors.Join(nodes[1].r.Forget(pods[2]), pods[2].Pod.Remove(), nodes[1].r.GC(nodes[1].list)))
	for i, m := range nodes {
		noneLeft(t, m.Node, before[i], "cni0")
	}
}
