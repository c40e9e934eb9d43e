package main

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"strings"

	"github.com/catena-cni/catena/integration/node"
)

// wired is a node with pods whose traffic is looked at.
type wired struct {
	*node.Node
	p      *proof
	places map[string]*place
	nodes  []*node.Node
	ears   []ear
	files  []*os.File
}

func newWired(p *proof) (*wired, error) {
	n, err := node.New()
	if err != nil {
		return nil, err
	}
	w := &wired{Node: n, p: p, places: map[string]*place{}, nodes: []*node.Node{n}}
	w.place("host", &n.Space, node.Addr4, node.Addr6)
	w.place("outside", &n.Outside, node.Outside4, node.Outside6)
	return w, nil
}

// place names a space.
func (w *wired) place(name string, s *node.Space, addrs ...string) *place {
	named := *s
	named.Name = name
	l := &place{Space: &named}
	for i, a := range addrs {
		l.addrs[i] = netip.MustParseAddr(a)
	}
	w.places[name] = l
	return l
}

func (w *wired) close() {
	for _, f := range w.files {
		f.Close()
	}
	for _, e := range w.ears {
		e.close()
	}
	for _, p := range w.places {
		p.close()
	}
	for _, n := range w.nodes {
		n.Close()
	}
}

// filter has the frames of bridges pass the packet filter, or not, where the kernel can.
func (w *wired) filter(filtered string) error {
	if _, err := os.Stat("/proc/sys/net/bridge"); err != nil {
		return nil
	}
	return errors.Join(w.Sysctl("net/bridge/bridge-nf-call-iptables", filtered), w.Sysctl("net/bridge/bridge-nf-call-ip6tables", filtered))
}

// network is a bridge of pods, br88 with 10.88.0.0/24 and fd00:88::/64 for number 88, with further keys of bridge and
// plugins behind it.
func network(number int, bridge, chained string) string {
	return addressed(number, fmt.Sprintf(`"type":"bridge","bridge":"br%d","isDefaultGateway":true`, number)+bridge, chained, true)
}

// addressed is a network of such addresses, of IPv4 alone if not six, by the keys of a plugin.
func addressed(number int, plugin, chained string, six bool) string {
	ranges, routes := fmt.Sprintf(`[{"subnet":"10.%d.0.0/24"}]`, number), `{"dst":"0.0.0.0/0"}`
	if six {
		ranges += fmt.Sprintf(`,[{"subnet":"fd00:%d::/64"}]`, number)
		routes += `,{"dst":"::/0"}`
	}
	return fmt.Sprintf(`{"cniVersion":"1.1.0","name":"net%d","plugins":[
		{%s,"ipam":{"type":"host-local","ranges":[%s],"routes":[%s]}}%s]}`, number, plugin, ranges, routes, chained)
}

// attach makes a pod in a network of a node.
func (w *wired) attach(n *node.Node, name, network string, ports ...node.Port) (node.Attachment, error) {
	list, err := node.Parse([]byte(network), "")
	if err != nil {
		return node.Attachment{}, err
	}
	pod, err := n.Pod(strings.ReplaceAll(name, " ", "-"))
	if err != nil {
		return node.Attachment{}, err
	}
	a := node.Attachment{Pod: pod, List: list, IfName: "eth0", Ports: ports}
	result, err := n.Runtime(nil, w.p.plugins).Add(a)
	if err != nil {
		return a, fmt.Errorf("attach %s: %w", name, err)
	}
	var addrs []string
	for _, ip := range result.IPs {
		addrs = append(addrs, ip.Address.IP.String())
	}
	l := w.place(name, &pod.Space, addrs...)
	for _, i := range result.Interfaces {
		if i.Sandbox == "" {
			l.hostEnd = i.Name
		}
	}
	// A pod's own loopback is the loopback plugin's, which is not looked at here.
	_, err = pod.Run("ip", "link", "set", "lo", "up")
	return a, err
}

// podMouth is the mouth of a pod, and the hardware address of the host's link that it leads to.
func (w *wired) podMouth(name, hostLink string) (m mouth, gateway net.HardwareAddr, err error) {
	m, err = mouthAt(w.places[name].Space, "eth0")
	gateway, gerr := macOf(&w.Space, hostLink)
	return m, gateway, errors.Join(err, gerr)
}

// earAt is an ear at a link of a place.
func (w *wired) earAt(name, link string) (ear, error) {
	e, err := earAt(w.places[name].Space, link)
	if err == nil {
		w.ears = append(w.ears, e)
	}
	return e, err
}

// earOf is an ear of a socket of a place.
func (w *wired) earOf(name string, six bool, port int) (ear, error) {
	e, err := earOf(w.places[name].Space, six, port)
	if err == nil {
		w.ears = append(w.ears, e)
	}
	return e, err
}

// neighbour is a second node with a pod, which routes of both lead to and from.
func (w *wired) neighbour(name, network string) error {
	other, err := node.New()
	if err != nil {
		return err
	}
	w.nodes = append(w.nodes, other)
	if err := w.Join(other, "wire"); err != nil {
		return err
	}
	if _, err := w.attach(other, name, network); err != nil {
		return err
	}
	pod := w.places[name]
	here := fmt.Sprintf("addr add %s/24 dev wire\naddr add %s/64 dev wire nodad\nroute add %s via %s\nroute add %s via %s\n",
		wire4, wire6, pod.addrs[0], otherWire4, pod.addrs[1], otherWire6)
	there := fmt.Sprintf("link del uplink\naddr add %s/24 dev wire\naddr add %s/64 dev wire nodad\nroute replace default via %s\nroute replace default via %s\n",
		otherWire4, otherWire6, wire4, wire6)
	_, err = w.RunWith(nil, here, "ip", "-batch", "-")
	_, oerr := other.RunWith(nil, there, "ip", "-batch", "-")
	return errors.Join(err, oerr)
}

// The addresses of both ends of the wire to the other node.
const (
	wire4, otherWire4 = "198.51.100.1", "198.51.100.2"
	wire6, otherWire6 = "2001:db8:2::1", "2001:db8:2::2"
)
