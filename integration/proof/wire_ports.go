package main

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"sync"

	"github.com/catena-cni/catena/integration/node"
)

// hostIP is a choice of the address that a host port is at: of IPv4 and of IPv6, "" for none of that family, and any for
// all of it.
type hostIP struct {
	name string
	at   [2]string
}

const (
	any4, any6         = "0.0.0.0", "::"
	gateway4, gateway6 = "10.88.0.1", "fd00:88::1"
)

var hostIPs = []hostIP{
	{"none", [2]string{any4, any6}},
	{any4, [2]string{any4, ""}},
	{any6, [2]string{"", any6}},
	{"the node's", [2]string{node.Addr4, node.Addr6}},
	{"the gateway's", [2]string{gateway4, gateway6}},
	{"127.0.0.1", [2]string{"127.0.0.1", ""}},
	{"::1", [2]string{"", "::1"}}, // which leads from nowhere: see way.mute
}

// Each choice has ports of its own.
func (h hostIP) ports() (host, pod int) {
	i := slices.Index(hostIPs, h)
	return 8000 + i, 9000 + i
}

// mappings are as runtimes give them.
func (h hostIP) mappings() (all []node.Port) {
	host, pod := h.ports()
	at := h.at[:]
	if h.name == "none" {
		at = []string{""}
	}
	for _, protocol := range protocols {
		for i, ip := range at {
			if ip != "" || i == 0 && h.name == "none" {
				all = append(all, node.Port{HostPort: host, ContainerPort: pod, Protocol: protocol, HostIP: ip})
			}
		}
	}
	return all
}

// leads reports whether the port leads to the pod from an address.
func (h hostIP) leads(family int, asked netip.Addr) bool {
	at := h.at[family]
	return at != "" && (netip.MustParseAddr(at).IsUnspecified() || at == asked.String())
}

// way is how a host port is asked: whence, and at which address, of IPv4 and IPv6.
type way struct {
	from string
	at   [2]string
	// masqueraded is what the pod sees the question come from, where it is not who asks.
	masqueraded [2]string
	// transit is who has the address, and is asked whatever the host's ports are; "" is the host.
	transit string
	// kept is what the host, or who is in transit, sees; "" is the address of who asks.
	kept [2]string
	// mute says of IPv6 that nothing leads from there: the kernel does not route what comes from ::1, so that the host
	// itself is asked (there is no route_localnet for IPv6).
	mute bool
}

// who are the places' addresses; those of pods are the first that host-local gives.
var who = map[string][2]string{
	"host": {node.Addr4, node.Addr6}, "outside": {node.Outside4, node.Outside6},
	"pod": {"10.88.0.2", "fd00:88::2"}, "same subnet": {"10.88.0.3", "fd00:88::3"}, "other bridge": {"10.89.0.2", "fd00:89::2"},
	"masqueraded bridge": {"10.90.0.2", "fd00:90::2"}, "other node": {"10.91.0.2", "fd00:91::2"},
}

// ways are all that there are. What pods of its own subnet and the host's loopback ask is masqueraded, as their answers
// would not find back; so is what a pod of another network asks whose network masquerades; all else keeps its address.
func ways() (all []way) {
	node, gateway, wire := who["host"], [2]string{gateway4, gateway6}, [2]string{wire4, wire6}
	return []way{
		{from: "outside", at: node},
		{from: "outside", at: gateway},
		{from: "host", at: node, kept: node},
		{from: "host", at: gateway, kept: gateway},
		{from: "host", at: wire, kept: wire},
		{from: "host", at: [2]string{"127.0.0.1", "::1"}, masqueraded: gateway, kept: [2]string{"127.0.0.1", "::1"}, mute: true},
		{from: "host", at: [2]string{"127.1.2.3", ""}, masqueraded: gateway, kept: [2]string{"127.0.0.1", ""}},
		{from: "same subnet", at: node, masqueraded: gateway},
		{from: "same subnet", at: gateway, masqueraded: gateway},
		{from: "pod", at: node, masqueraded: gateway},
		{from: "pod", at: gateway, masqueraded: gateway},
		{from: "other bridge", at: node},
		{from: "other bridge", at: gateway},
		{from: "masqueraded bridge", at: node, masqueraded: gateway},
		{from: "masqueraded bridge", at: gateway, masqueraded: gateway},
		{from: "other node", at: node},
		{from: "other node", at: wire},
		{from: "outside", at: who["same subnet"], transit: "same subnet"},
		{from: "outside", at: who["other node"], transit: "other node"},
		{from: "other node", at: who["outside"], transit: "outside"},
		{from: "other node", at: who["same subnet"], transit: "same subnet"},
		{from: "host", at: who["outside"], transit: "outside", kept: node},
		{from: "host", at: who["same subnet"], transit: "same subnet", kept: gateway},
		{from: "pod", at: who["outside"], transit: "outside", kept: node},
		{from: "pod", at: who["other bridge"], transit: "other bridge", kept: [2]string{"10.89.0.1", "fd00:89::1"}},
		{from: "same subnet", at: who["outside"], transit: "outside", kept: node},
		{from: "other bridge", at: who["same subnet"], transit: "same subnet"},
	}
}

// portSite is what the pod with the ports is like.
type portSite struct {
	plugin, portmap string // keys of the plugins
	filtered        string // whether bridges' frames pass the packet filter
	masqAll         bool
}

// notMasqueraded keeps every client's address, so that who asks from the pod's own bridge, from the pod itself, or from
// 127.0.0.0/8 has no answer that finds back. A pod of ptp's has its subnet's others behind the host.
const notMasqueraded = `,"snat":false`

// noAnswer is what there is where an answer cannot find back.
const noAnswer = "no answer"

var portSites = []portSite{
	{`"type":"bridge","bridge":"br88","isDefaultGateway":true,"hairpinMode":true`, "", "0", false},
	{`"type":"bridge","bridge":"br88","isDefaultGateway":true,"hairpinMode":true`, "", "1", false},
	{`"type":"ptp"`, "", "0", false},
	{`"type":"bridge","bridge":"br88","isDefaultGateway":true`, `,"masqAll":true`, "0", true},
	{`"type":"bridge","bridge":"br88","isDefaultGateway":true,"hairpinMode":true`, notMasqueraded, "0", false},
	{`"type":"ptp"`, notMasqueraded, "0", false},
}

// question is one cell of the matrix.
type question struct {
	site     portSite
	node     func() (*wired, error)
	way      way
	family   int
	protocol string
	host     hostIP
}

// want is the answer that there must be.
func (q question) want() string {
	port, podPort := q.host.ports()
	kept := cmp.Or(q.way.kept[q.family], who[q.way.from][q.family])
	switch {
	case q.way.transit != "":
		return fmt.Sprintf("%s %d %s", q.way.transit, port, kept)
	case !q.host.leads(q.family, q.to().Addr()) || q.way.mute && q.family == 1:
		return fmt.Sprintf("host %d %s", port, kept)
	case q.unanswered():
		return noAnswer
	case q.site.masqAll:
		return fmt.Sprintf("pod %d %s", podPort, [2]string{gateway4, gateway6}[q.family])
	}
	if q.site.portmap == notMasqueraded && q.way.from == "same subnet" {
		return fmt.Sprintf("pod %d %s", podPort, kept)
	}
	return fmt.Sprintf("pod %d %s", podPort, cmp.Or(q.way.masqueraded[q.family], kept))
}

// unanswered reports whether the answer cannot find back to who asks for the pod.
func (q question) unanswered() bool {
	if q.site.portmap != notMasqueraded {
		return false
	}
	return q.way.from == "pod" || q.to().Addr().IsLoopback() || q.way.from == "same subnet" && strings.Contains(q.site.plugin, "bridge")
}

func (q question) to() netip.AddrPort {
	port, _ := q.host.ports()
	return netip.AddrPortFrom(netip.MustParseAddr(q.way.at[q.family]), uint16(port))
}

// wrong asks, and says what is not as it must be.
func (q question) wrong() string {
	w, err := q.node()
	if err != nil {
		return err.Error()
	}
	patience := patience
	if q.want() == noAnswer {
		patience = moment
	}
	got, err := ask(w.places[q.way.from].Space, q.protocol, q.to(), patience)
	switch {
	case err != nil && q.want() == noAnswer:
		got = noAnswer
	case err != nil:
		got = err.Error()
	}
	if got == q.want() {
		return ""
	}
	return fmt.Sprintf("%s asks %v over %s, hostIP %s, of %s%s, filtered %s: %q, not %q", q.way.from, q.to(), q.protocol, q.host.name,
		q.site.plugin, q.site.portmap, q.site.filtered, got, q.want())
}

// questions are all cells of a node.
func (s portSite) questions(node func() (*wired, error)) (all []question) {
	for _, way := range ways() {
		for family, at := range way.at {
			for _, protocol := range protocols {
				for _, host := range hostIPs {
					if at != "" {
						all = append(all, question{s, node, way, family, protocol, host})
					}
				}
			}
		}
	}
	return all
}

// node is a node with a pod that has ports by a backend, and with everybody who may ask.
func (s portSite) node(p *proof, backend string) (w *wired, err error) {
	if w, err = newWired(p); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			w.close()
			w = nil
		}
	}()
	if err := w.filter(s.filtered); err != nil {
		return w, err
	}
	masquerades := fmt.Sprintf(`,"ipMasq":true,"ipMasqBackend":%q`, backend)
	ports := addressed(88, s.plugin+masquerades, fmt.Sprintf(`,{"type":"portmap","backend":%q%s,"capabilities":{"portMappings":true}}`, backend, s.portmap), true)
	var mappings []node.Port
	var hostPorts, podPorts []int
	for _, h := range hostIPs {
		mappings = append(mappings, h.mappings()...)
		host, pod := h.ports()
		hostPorts, podPorts = append(hostPorts, host), append(podPorts, pod)
	}
	for _, pod := range []struct {
		name, network string
		ports         []node.Port
	}{
		{"pod", ports, mappings},
		{"same subnet", ports, nil},
		{"other bridge", network(89, "", ""), nil},
		{"masqueraded bridge", network(90, masquerades, ""), nil},
	} {
		if _, err := w.attach(w.Node, pod.name, pod.network, pod.ports...); err != nil {
			return w, err
		}
	}
	if err := w.neighbour("other node", network(91, "", "")); err != nil {
		return w, err
	}
	for name, place := range w.places {
		ports := hostPorts
		if name == "pod" {
			ports = podPorts
		}
		if err := place.listen(ports...); err != nil {
			return w, fmt.Errorf("listen in %s: %w", name, err)
		}
	}
	return w, nil
}

// hostPorts asks every host port from everywhere that it can be asked from, by either backend.
func hostPorts(p *proof) (rows []row, err error) {
	for _, backend := range []string{"nftables", "iptables"} {
		rows = append(rows, portsOf(p, backend)...)
	}
	return rows, nil
}

func portsOf(p *proof, backend string) (rows []row) {
	cases, made := map[string][]question{}, make(chan *wired, len(portSites))
	names := []string{"in transit"}
	for _, s := range portSites {
		node := sync.OnceValues(func() (*wired, error) { // only where a point asks for it
			w, err := s.node(p, backend)
			if err == nil {
				made <- w
			}
			return w, err
		})
		for _, q := range s.questions(node) {
			name := "from " + q.way.from
			if q.way.transit != "" {
				name = "in transit"
			}
			if !slices.Contains(names, name) {
				names = append(names, name)
			}
			cases[name] = append(cases[name], q)
		}
	}
	for _, name := range names {
		r := row{what: fmt.Sprintf("host ports of %s, %s", backend, name)}
		points := p.spread(len(cases[name]))
		said := make([]string, len(points))
		together(len(points), func(_, i int) { said[i] = cases[name][points[i]-1].wrong() })
		r.points = len(points)
		r.wrong = slices.DeleteFunc(said, func(s string) bool { return s == "" })
		rows = append(rows, r)
	}
	close(made)
	for w := range made {
		w.close()
	}
	return rows
}
