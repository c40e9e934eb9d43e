package integration

import (
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/catena-cni/catena/integration/node"
	"github.com/catena-cni/catena/internal/kerneltest"
)

// bridged is a node with pods on bridges, made by hand, so that what is seen is
// portmap's doing alone.
type bridged struct {
	*node.Node
	t testing.TB
}

func newBridged(t testing.TB) bridged {
	t.Helper()
	if _, err := os.Stat(filepath.Join(plugins, "portmap")); err != nil {
		t.Fatalf("%v: run ./build_linux.sh first", err)
	}
	b := bridged{newNode(t), t}
	must(t, b.Sysctl("net/ipv4/ip_forward", "1"))
	must(t, b.Sysctl("net/ipv6/conf/all/forwarding", "1"))
	for _, n := range []int{88, 89} {
		b.run("ip link add br%[1]d type bridge; ip link set br%[1]d addrgenmode none up; ip addr add 10.%[1]d.0.1/24 dev br%[1]d; ip addr add fd00:%[1]d::1/64 dev br%[1]d nodad; ip addr add fe80::1/64 dev br%[1]d nodad", n)
	}
	return b
}

func (b bridged) run(format string, args ...any) string {
	b.t.Helper()
	out, err := b.Run("sh", "-c", fmt.Sprintf(format, args...))
	must(b.t, err)
	return out
}

// pod has the addresses 10.NET.0.HOST and fd00:NET::HOST.
func (b bridged) pod(net, host int) *node.Pod {
	b.t.Helper()
	p := newPod(b.t, b.Node, fmt.Sprintf("pod%d-%d", net, host))
	b.run(`ip link add p%[1]d-%[2]d type veth peer name eth0 netns %[3]s
		ip link set p%[1]d-%[2]d addrgenmode none master br%[1]d up
		bridge link set dev p%[1]d-%[2]d hairpin on
		in="ip netns exec %[3]s"
		$in ip link set lo up
		$in ip link set eth0 addrgenmode none up
		$in ip addr add 10.%[1]d.0.%[2]d/24 dev eth0
		$in ip addr add fd00:%[1]d::%[2]d/64 dev eth0 nodad
		$in ip route add default via 10.%[1]d.0.1
		$in ip -6 route add default via fd00:%[1]d::1`, net, host, p.ID)
	// The host learns who has the addresses, as it does from a plugin that
	// announces them.
	for _, gateway := range []string{fmt.Sprintf("10.%d.0.1", net), fmt.Sprintf("fd00:%d::1", net)} {
		must(b.t, p.Ping(gateway))
	}
	return p
}

// portmap runs the plugin for a pod.
func (b bridged) portmap(verb string, p *node.Pod, more string, ports ...node.Port) (string, error) {
	b.t.Helper()
	var net, host int
	_, err := fmt.Sscanf(p.ID, "pod%d-%d", &net, &host)
	must(b.t, err)
	list, err := json.Marshal(ports)
	must(b.t, err)
	conf := fmt.Sprintf(`{"cniVersion":"1.0.0","name":"n","type":"portmap",%[1]s"runtimeConfig":{"portMappings":%[2]s},"prevResult":{"cniVersion":"1.0.0",
		"interfaces":[{"name":"br%[3]d"},{"name":"eth0","sandbox":"%[5]s"}],
		"ips":[{"address":"10.%[3]d.0.%[4]d/24","interface":1},{"address":"fd00:%[3]d::%[4]d/64","interface":1}]}}`, more, list, net, host, p.Path)
	return byHand(b.Node, verb, "portmap", p.ID, p.Path, "eth0", conf)
}

func (b bridged) add(p *node.Pod, more string, ports ...node.Port) {
	b.t.Helper()
	_, err := b.portmap("ADD", p, more, ports...)
	must(b.t, err)
}

// bare is DEL as a runtime that has lost everything sends it.
func (b bridged) bare(p *node.Pod) {
	b.t.Helper()
	_, err := byHand(b.Node, "DEL", "portmap", p.ID, "", "eth0", `{"cniVersion":"1.0.0","name":"n","type":"portmap"}`)
	must(b.t, err)
}

func (b bridged) unseen(from *node.Space, network, addr string, port int) {
	b.t.Helper()
	if got, err := from.Briefly().Ask(network, addr, port); err == nil {
		b.t.Errorf("%s asks %s port %d over %s and is answered (seen as %s)", from.Name, addr, port, network, got)
	}
}

func both(host, pod int) []node.Port {
	return []node.Port{{HostPort: host, ContainerPort: pod, Protocol: "tcp"}, {HostPort: host, ContainerPort: pod, Protocol: "udp"}}
}

// TestHostPortPaths asks a host port from everywhere that it can be asked from,
// with the frames of bridges passing the packet filter and not.
func TestHostPortPaths(t *testing.T) {
	for _, filtered := range []string{"0", "1"} {
		t.Run("bridge-nf-call "+filtered, func(t *testing.T) {
			t.Parallel()
			kerneltest.Needs(t, "bridge netfilter")
			b := newBridged(t)
			must(t, b.Sysctl("net/bridge/bridge-nf-call-iptables", filtered))
			must(t, b.Sysctl("net/bridge/bridge-nf-call-ip6tables", filtered))
			pod, neighbour, other := b.pod(88, 2), b.pod(88, 3), b.pod(89, 2)
			serve(t, &pod.Space, 80)
			serve(t, &pod.Space, 9090)
			b.add(pod, "", append(both(8080, 80), both(9090, 9090)...)...)
			for _, port := range []int{8080, 9090} {
				for _, network := range []string{"tcp", "udp"} {
					seen(t, &b.Outside, network, node.Addr4, port, node.Outside4)
					seen(t, &b.Outside, network, node.Addr6, port, node.Outside6)
					seen(t, &b.Space, network, node.Addr4, port, node.Addr4)
					seen(t, &b.Space, network, node.Addr6, port, node.Addr6)
					seen(t, &b.Space, network, "10.88.0.1", port, "10.88.0.1")
					seen(t, &b.Space, network, "fd00:88::1", port, "fd00:88::1")
					seen(t, &b.Space, network, "127.0.0.1", port, "10.88.0.1")
					seen(t, &b.Space, network, "127.1.2.3", port, "10.88.0.1")
					for _, near := range []*node.Pod{pod, neighbour} {
						seen(t, &near.Space, network, node.Addr4, port, "10.88.0.1")
						seen(t, &near.Space, network, node.Addr6, port, "fd00:88::1")
						seen(t, &near.Space, network, "10.88.0.1", port, "10.88.0.1")
						seen(t, &near.Space, network, "fd00:88::1", port, "fd00:88::1")
					}
					seen(t, &other.Space, network, node.Addr4, port, "10.89.0.2")
					seen(t, &other.Space, network, node.Addr6, port, "fd00:89::2")
				}
			}
			b.unseen(&b.Space, "tcp", "::1", 8080)
			b.bare(pod)
			b.unseen(&b.Outside, "tcp", node.Addr4, 8080)
		})
	}
}

// TestHostPortTransit: what is for others on the same port goes there.
func TestHostPortTransit(t *testing.T) {
	t.Parallel()
	b := newBridged(t)
	pod, neighbour := b.pod(88, 2), b.pod(88, 3)
	b.add(pod, "", both(8080, 80)...)
	serve(t, &b.Outside, 8080)
	serve(t, &neighbour.Space, 8080)
	for _, network := range []string{"tcp", "udp"} {
		seen(t, &pod.Space, network, node.Outside4, 8080, "10.88.0.2")
		seen(t, &neighbour.Space, network, node.Outside6, 8080, "fd00:88::3")
		seen(t, &b.Outside, network, "10.88.0.3", 8080, node.Outside4)
		seen(t, &b.Outside, network, "fd00:88::3", 8080, node.Outside6)
		seen(t, &b.Space, network, node.Outside4, 8080, node.Addr4)
	}
}

// TestHostPortChoices: hostIP, snat, masqAll, markMasqBit and conditions.
func TestHostPortChoices(t *testing.T) {
	t.Parallel()
	b := newBridged(t)
	pod, other := b.pod(88, 2), b.pod(89, 2)
	serve(t, &pod.Space, 80)
	ask := func(port int, wantOutside, wantOther string) {
		t.Helper()
		for _, network := range []string{"tcp", "udp"} {
			seen(t, &b.Outside, network, node.Addr4, port, wantOutside)
			seen(t, &other.Space, network, node.Addr4, port, wantOther)
		}
	}
	only := both(8080, 80)
	for i := range only {
		only[i].HostIP = node.Addr4
	}
	b.add(pod, "", only...)
	ask(8080, node.Outside4, "10.89.0.2")
	b.unseen(&b.Space, "tcp", "10.88.0.1", 8080)
	b.unseen(&b.Space, "tcp", "127.0.0.1", 8080)
	b.unseen(&b.Outside, "tcp", node.Addr6, 8080)
	b.bare(pod)

	b.add(pod, `"snat":false,`, both(8080, 80)...)
	ask(8080, node.Outside4, "10.89.0.2")
	b.bare(pod)

	for _, more := range []string{"", `"markMasqBit":3,`, `"conditionsV4":["ip","saddr","0.0.0.0/0"],`} {
		b.add(pod, more+`"masqAll":true,`, both(8080, 80)...)
		ask(8080, "10.88.0.1", "10.88.0.1")
		if more != "" {
			seen(t, &b.Outside, "tcp", "10.88.0.2", 80, node.Outside4) // who asks directly is not masqueraded
		}
		b.bare(pod)
	}
}

// TestHostPortConditions: two networks with different conditions, on one port.
func TestHostPortConditions(t *testing.T) {
	t.Parallel()
	b := newBridged(t)
	one, two, client := b.pod(88, 2), b.pod(88, 3), b.pod(89, 2)
	serve(t, &one.Space, 81)
	serve(t, &two.Space, 82)
	b.add(one, `"conditionsV4":["-i","uplink"],"conditionsV6":["-i","uplink"],`, both(8080, 81)...)
	b.add(two, `"conditionsV4":["ip saddr {10.89.0.0/24, 10.90.0.0/24}"],"conditionsV6":["ip6","saddr","fd00:89::/64"],`, both(8080, 82)...)
	inside := func(s *node.Space, addr string, pod *node.Pod, port int) {
		t.Helper()
		before := b.run("conntrack -L 2>/dev/null | grep -c 'dport=8080.*sport=%d ' || true", port)
		if _, err := s.Ask("tcp", addr, 8080); err != nil {
			t.Error(err)
		}
		if after := b.run("conntrack -L 2>/dev/null | grep -c 'dport=8080.*sport=%d ' || true", port); after == before {
			t.Errorf("%s does not come to %s by %s", s.Name, pod.Name, addr)
		}
	}
	inside(&b.Outside, node.Addr4, one, 81)
	inside(&client.Space, node.Addr4, two, 82)
	if _, err := b.Outside.Ask("tcp", node.Addr6, 8080); err != nil {
		t.Error(err)
	}
	b.unseen(&b.Space, "tcp", node.Addr4, 8080) // neither condition holds
	b.bare(one)
	b.unseen(&b.Outside, "tcp", node.Addr4, 8080)
	inside(&client.Space, node.Addr4, two, 82)
}

// TestLoopbackOnTheWire: a neighbour of the host does not come by 127.0.0.1 to a port that is there alone.
func TestLoopbackOnTheWire(t *testing.T) {
	for _, backend := range []string{"nftables", "iptables"} {
		t.Run(backend, func(t *testing.T) {
			t.Parallel()
			b := newBridged(t)
			pod := b.pod(88, 2)
			serve(t, &pod.Space, 80)
			ports := both(8080, 80)
			for i := range ports {
				ports[i].HostIP = "127.0.0.1"
			}
			b.add(pod, `"backend":"`+backend+`",`, ports...)
			must1(t)(b.Outside.Run("sh", "-c", `ip addr flush dev lo; sysctl -qw net.ipv4.conf.node.route_localnet=1; ip route add 127.0.0.0/8 via `+node.Addr4))
			b.unseen(&b.Outside, "tcp", "127.0.0.1", 8080)
			seen(t, &b.Space, "tcp", "127.0.0.1", 8080, "10.88.0.1")
		})
	}
}

// TestMartians: what listens on 127.0.0.1 stays the host's own.
func TestMartians(t *testing.T) {
	t.Parallel()
	b := newBridged(t)
	pod := b.pod(88, 2)
	serve(t, &b.Space, 7777)
	b.add(pod, "", both(8080, 80)...)
	b.run(`in="ip netns exec %s"
		$in ip addr flush dev lo
		$in sysctl -qw net.ipv4.conf.eth0.route_localnet=1
		$in ip route add 127.0.0.1 via 10.88.0.1`, pod.ID)
	b.unseen(&pod.Space, "tcp", "127.0.0.1", 7777)
	b.run("nft delete element inet catena localnet { br88 }")
	if _, err := pod.Ask("tcp", "127.0.0.1", 7777); err != nil {
		t.Errorf("without the guard nothing comes through either, so this test proves nothing: %v", err)
	}
}

// client is a socket that goes on asking from one port, as a metrics agent does.
type client struct {
	net.PacketConn
	to net.Addr
}

func newClient(t testing.TB, s *node.Space, addr string, port int) client {
	t.Helper()
	c := client{to: &net.UDPAddr{IP: net.ParseIP(addr), Port: port}}
	must(t, s.Do(func() (err error) {
		c.PacketConn, err = net.ListenPacket("udp", ":0")
		return err
	}))
	t.Cleanup(func() { c.Close() })
	return c
}

func (c client) ask(wait time.Duration) (string, error) {
	if _, err := c.WriteTo([]byte("?"), c.to); err != nil {
		return "", err
	}
	_ = c.SetReadDeadline(time.Now().Add(wait))
	b := make([]byte, 100)
	n, _, err := c.ReadFrom(b)
	return string(b[:n]), err
}

// TestStaleFlows: UDP flows from before ADD, and from before DEL, lead to what is
// there now, at once. Those of others on the same port go on.
func TestStaleFlows(t *testing.T) {
	for _, family := range []struct{ name, node, outside, pod, backend string }{
		{"4", node.Addr4, node.Outside4, "10.88.0.2", "nftables"},
		{"6", node.Addr6, node.Outside6, "fd00:88::2", "nftables"},
		{"4", node.Addr4, node.Outside4, "10.88.0.2", "iptables"},
		{"6", node.Addr6, node.Outside6, "fd00:88::2", "iptables"},
	} {
		t.Run("IPv"+family.name+" "+family.backend, func(t *testing.T) {
			t.Parallel()
			b := newBridged(t)
			pod, neighbour := b.pod(88, 2), b.pod(88, 3)
			serve(t, &pod.Space, 53)
			serve(t, &b.Outside, 53)
			// Flows are only tracked where somebody asks for it.
			b.run("nft add table inet watch; nft 'add chain inet watch c { type filter hook prerouting priority 0; }'; nft add rule inet watch c ct state new counter")
			agent := newClient(t, &b.Outside, family.node, 5300)
			query := newClient(t, &neighbour.Space, family.outside, 53)
			if _, err := query.ask(time.Minute); err != nil {
				t.Fatal(err)
			}
			if _, err := agent.ask(100 * time.Millisecond); !errors.Is(err, os.ErrDeadlineExceeded) {
				t.Fatalf("before ADD: %v", err)
			}
			flows := func(port int) string {
				return b.run("conntrack -L -f ipv%s -p udp --orig-port-dst %d 2>/dev/null || true", family.name, port)
			}
			if flows(5300) == "" {
				t.Fatal("no flow is remembered: this test proves nothing")
			}
			b.add(pod, `"backend":"`+family.backend+`",`, node.Port{HostPort: 5300, ContainerPort: 53, Protocol: "udp"}, node.Port{HostPort: 53, ContainerPort: 53, Protocol: "udp"})
			if flows(53) == "" {
				t.Error("ADD has forgotten a pod's query to another server")
			}
			if _, err := agent.ask(time.Minute); err != nil {
				t.Errorf("after ADD: %v\n%s", err, flows(5300))
			}
			if !strings.Contains(flows(5300), "src="+family.pod) {
				t.Errorf("the flow does not lead to the pod:\n%s", flows(5300))
			}
			b.bare(pod)
			if left := flows(5300); left != "" {
				t.Errorf("after DEL:\n%s", left)
			}
			if flows(53) == "" {
				t.Error("DEL has forgotten a pod's query to another server")
			}
			serve(t, &b.Space, 5300)
			if _, err := agent.ask(time.Minute); err != nil {
				t.Errorf("after DEL the host does not answer: %v", err)
			}
		})
	}
}

// TestBadPortmap: what is wrong is said, and nothing is touched.
func TestBadPortmap(t *testing.T) {
	t.Parallel()
	b := newBridged(t)
	pod := b.pod(88, 2)
	port := func(m string) string { return `"runtimeConfig":{"portMappings":[` + m + `]}` }
	const ips = `,"prevResult":{"cniVersion":"1.0.0","interfaces":[{"name":"eth0","sandbox":"/x"}],"ips":[{"address":"10.88.0.2/24","interface":0}]}`
	const good = `{"hostPort":80,"containerPort":80,"protocol":"tcp"}`
	for conf, want := range map[string]struct {
		code int
		msg  string
	}{
		port(`{"hostPort":0,"containerPort":80}`) + ips:                                                                               {7, "portMappings[0].hostPort is 0, and can be 1 to 65535"},
		port(`{"hostPort":70000,"containerPort":80}`) + ips:                                                                           {7, "hostPort is 70000, and can be 1 to 65535"},
		port(`{"hostPort":80,"containerPort":-1}`) + ips:                                                                              {7, "containerPort is -1, and can be 1 to 65535"},
		port(`{"hostPort":80}`) + ips:                                                                                                 {7, "containerPort is 0, and can be 1 to 65535"},
		port(`{"hostPort":"80","containerPort":80}`) + ips:                                                                            {6, "hostPort is to be a whole number, not string"},
		port(`{"hostPort":80,"containerPort":80,"protocol":"icmp"}`) + ips:                                                            {7, `portMappings[0].protocol is "icmp", and can be tcp, udp or sctp`},
		port(`{"hostPort":80,"containerPort":80,"protocol":"tcp\nadd table x"}`) + ips:                                                {7, `protocol is "tcp\nadd table x"`},
		port(`{"hostPort":80,"containerPort":80,"hostIP":"localhost"}`) + ips:                                                         {7, `portMappings[0].hostIP is "localhost", which is no IP address`},
		port(`{"hostPort":80,"containerPort":80,"hostIP":"fe80::1%eth0"}`) + ips:                                                      {7, "is no IP address"},
		port(`{"hostPort":80,"containerPort":80,"hostIP":"2001:db8::2"}`) + ips:                                                       {7, "hostIP is 2001:db8::2, and eth0 has no address of that family but [10.88.0.2/24]"},
		port(`{"hostPort":80,"containerPort":80,"hostIP":"::"}`) + ips:                                                                {7, "no address of that family"},
		port(good+`,{"hostPort":80,"containerPort":81}`) + ips:                                                                        {7, "tcp 0.0.0.0:80 leads to the pod's port 80, and tcp 0.0.0.0:80 to 81"},
		port(`{"hostPort":80,"containerPort":80,"hostIP":"192.0.2.2"},{"hostPort":80,"containerPort":81,"hostIP":"192.0.2.2"}`) + ips: {7, "tcp 192.0.2.2:80 to 81"},
		port(good): {7, "there is no prevResult"},
		port(good) + `,"prevResult":{"cniVersion":"1.0.0"}`: {7, "prevResult has no address of eth0, and port 80 leads to one"},
		port(good) + `,"prevResult":{"cniVersion":"1.0.0","interfaces":[{"name":"eth0","sandbox":"/x"},{"name":"eth1","sandbox":"/x"}],"ips":[{"address":"10.0.0.1/24","interface":1}]}`: {7, "no address of eth0 but those of other interfaces"},
		`"markMasqBit":32,` + port(good) + ips:                                                  {7, "markMasqBit is 32, and can be 0 to 31"},
		`"markMasqBit":12,` + port(good) + ips:                                                  {7, "markMasqBit is 12: that bit says which packets firewall lets through"},
		`"markMasqBit":3,"externalSetMarkChain":"X",` + port(good) + ips:                        {7, "markMasqBit and externalSetMarkChain exclude one another"},
		`"backend":"nftables","externalSetMarkChain":"X",` + port(good) + ips:                   {7, "externalSetMarkChain is for the backend iptables"},
		`"backend":"iptables","externalSetMarkChain":"-j",` + port(good) + ips:                  {7, `externalSetMarkChain: "-j" is no name of a chain`},
		`"backend":"iptables","conditionsV4":["ip","saddr","10.0.0.0/8"],` + port(good) + ips:   {7, `conditionsV4: "ip" begins no condition of iptables`},
		`"backend":"iptables","conditionsV6":"-s fd00::/8 -j ACCEPT",` + port(good) + ips:       {7, `conditionsV6: "-j" is no condition`},
		`"backend":"iptables","conditionsV4":"-s 10.0.0.0/8 --modprobe=/x",` + port(good) + ips: {7, `"--modprobe=/x" is no condition`},
		`"backend":"ipfw",` + port(good) + ips:                                                  {7, `backend is "ipfw", and can be nftables, iptables`},
		`"conditionsV4":["ip","ttl","3"],` + port(good) + ips:                                   {7, `conditionsV4: "ttl" is not understood: saddr, daddr`},
		`"conditionsV6":["-s","10.0.0.0/8"],` + port(good) + ips:                                {7, `conditionsV6: "10.0.0.0/8" is not understood: an IPv6 address`},
		`"conditionsV4":7,` + port(good) + ips:                                                  {6, "conditions are a list of strings, or one string"},
	} {
		before := text(t, b.Node)
		out, err := byHand(b.Node, "ADD", "portmap", pod.ID, pod.Path, "eth0", `{"cniVersion":"1.0.0","name":"n","type":"portmap",`+conf+`}`)
		var e struct {
			Code         int
			Msg, Details string
		}
		if err == nil || json.Unmarshal([]byte(out), &e) != nil || e.Code != want.code || !strings.Contains(e.Msg, want.msg) {
			t.Errorf("%s\n gives %s\n want %d %s", conf, out, want.code, want.msg)
		}
		if gone, come := node.Diff(before, text(t, b.Node)); len(gone)+len(come) > 0 {
			t.Errorf("%s: changed: %v %v", conf, gone, come)
		}
		// DEL does not mind.
		if out, err := byHand(b.Node, "DEL", "portmap", pod.ID, pod.Path, "eth0", `{"cniVersion":"1.0.0","name":"n","type":"portmap",`+conf+`}`); err != nil {
			t.Errorf("DEL: %s: %s", conf, out)
		}
	}
}

// TestPortmapIdle: without mappings the previous result comes back, and nothing
// is there.
func TestPortmapIdle(t *testing.T) {
	t.Parallel()
	b := newBridged(t)
	before := text(t, b.Node)
	out, err := b.portmap("ADD", b.pod(88, 2), "")
	must(t, err)
	sameJSON(t, out, `{"cniVersion":"1.0.0","interfaces":[{"name":"br88"},{"name":"eth0","sandbox":"/run/netns/pod88-2"}],
		"ips":[{"address":"10.88.0.2/24","interface":1},{"address":"fd00:88::2/64","interface":1}]}`)
	if strings.Contains(text(t, b.Node), "catena") && !strings.Contains(before, "catena") {
		t.Error("something was made")
	}
}

// TestPortmapAtOnce: many pods at once make one profile, and of those who want
// one port, however it is written, one gets it.
func TestPortmapAtOnce(t *testing.T) {
	t.Parallel()
	b := newBridged(t)
	const pods = 24
	attach := func(id string, ports ...node.Port) error {
		list, _ := json.Marshal(ports)
		_, err := byHand(b.Node, "ADD", "portmap", id, "/run/netns/"+id, "eth0", fmt.Sprintf(`{"cniVersion":"1.0.0","name":"n","type":"portmap","conditionsV4":["-i","up+"],
			"runtimeConfig":{"portMappings":%s},"prevResult":{"cniVersion":"1.0.0","ips":[{"address":"10.88.0.7/24"}]}}`, list))
		return err
	}
	errs := make(chan error)
	for i := range pods {
		go func() { errs <- attach(fmt.Sprintf("own%d", i), both(1000+i, 80)...) }()
	}
	for range pods {
		if err := <-errs; err != nil {
			t.Error(err)
		}
	}
	if n := strings.Count(b.run("nft list chain inet catena profiles"), "iifname"); n != 1 {
		t.Errorf("the condition is there %d times", n)
	}
	for i := range pods {
		port := node.Port{HostPort: 8080, ContainerPort: 80, Protocol: "tcp"}
		if i%2 == 1 {
			port.HostIP = node.Addr4
		}
		go func() { errs <- attach(fmt.Sprintf("same%d", i), port) }()
	}
	won := 0
	for range pods {
		if err := <-errs; err == nil {
			won++
		} else if !strings.Contains(err.Error(), "is held by n/same") {
			t.Error(err)
		}
	}
	held := strings.Count(b.run("nft list table inet catena | sed -n '/map [a-z]*ports4_/,/}$/p'"), "8080 . tcp")
	// Those with the same hostIP differ in nothing, and one of them may be first.
	if won != 1 || held != 1 {
		t.Errorf("%d pods have the port, %d members lead to one", won, held)
	}
}

// TestPortmapInChain is the whole of it as runtimes do it, behind bridge.
func TestPortmapInChain(t *testing.T) {
	t.Parallel()
	n := newNode(t)
	var first string // what is left of the first round is shared
	// A stand-in for IPAM that always gives the same.
	ipam := t.TempDir()
	must(t, os.WriteFile(filepath.Join(ipam, "fixed"), []byte("#!/bin/sh\ncat >/dev/null\n[ \"$CNI_COMMAND\" != ADD ] || "+
		`echo '{"cniVersion":"1.0.0","ips":[{"address":"10.77.0.2/24"},{"address":"fd00:77::2/64"}],"routes":[{"dst":"0.0.0.0/0"},{"dst":"::/0"}]}'`+"\n"), 0o755))
	list, err := node.Parse([]byte(`{"cniVersion":"1.1.0","name":"chain","plugins":[
		{"type":"bridge","bridge":"br0","isGateway":true,"ipMasq":true,"hairpinMode":true,"ipam":{"type":"fixed"}},
		{"type":"portmap","capabilities":{"portMappings":true}}]}`), "")
	must(t, err)
	r := n.Runtime(nil, plugins, ipam)
	pod := newPod(t, n, "c1")
	a := node.Attachment{Pod: pod, List: list, IfName: "eth0", Ports: both(8080, 80)}
	must(t, r.Status(list))
	for range 2 {
		_, err = r.Add(a)
		must(t, err)
		must(t, r.Check(a))
		server, err := pod.Serve(80)
		must(t, err)
		for _, network := range []string{"tcp", "udp"} {
			seen(t, &n.Outside, network, node.Addr4, 8080, node.Outside4)
			seen(t, &n.Outside, network, node.Addr6, 8080, node.Outside6)
			seen(t, &n.Space, network, "127.0.0.1", 8080, "10.77.0.1")
			seen(t, &pod.Space, network, node.Addr4, 8080, "10.77.0.1")
		}
		must(t, r.Del(a))
		must(t, r.Del(a))
		server.Close()
		if first == "" {
			first = text(t, n)
		}
		noneLeft(t, n, first, "br0")
	}
}

// TestPortmapCollects: GC removes what is of attachments that are not alive, and
// nothing else.
func TestPortmapCollects(t *testing.T) {
	t.Parallel()
	b := newBridged(t)
	one, two := b.pod(88, 2), b.pod(88, 3)
	b.add(one, "", both(81, 80)...)
	b.add(two, `"conditionsV4":["-i","uplink"],`, both(82, 80)...)
	before := b.run("nft list ruleset")
	gc := func(valid string) {
		t.Helper()
		_, err := b.RunWith([]string{"CNI_COMMAND=GC", "CNI_PATH=" + plugins}, `{"cniVersion":"1.1.0","name":"n","type":"portmap","cni.dev/valid-attachments":[`+valid+`]}`, filepath.Join(plugins, "portmap"))
		must(t, err)
	}
	gc(`{"containerID":"pod88-2","ifname":"eth0"},{"containerID":"pod88-3","ifname":"eth0"}`)
	if after := b.run("nft list ruleset"); after != before {
		t.Errorf("GC has removed what is alive:\n%s", after)
	}
	// What no record speaks of is found in the sets, those of profiles too.
	b.run("rm -r /run/catena/nft")
	gc(`{"containerID":"pod88-2","ifname":"eth0"}`)
	if after := b.run("nft list ruleset"); strings.Contains(after, "pod88-3") || !strings.Contains(after, "pod88-2") {
		t.Errorf("after GC:\n%s", after)
	}
	gc("")
	if after := b.run("nft list ruleset"); strings.Contains(after, "n/pod") {
		t.Errorf("after GC:\n%s", after)
	}
}
