package main

import (
	"fmt"
	"net/netip"
	"slices"

	"github.com/catena-cni/catena/integration/node"
)

// hostIP is a choice of the address that a host port is at: of IPv4 and of IPv6, "" for none of that family, and any for
// all of it.
type hostIP struct {
	name string
	at   [2]string
}

const (
	any4, any6       = "0.0.0.0", "::"
	bridge4, bridge6 = "10.88.0.1", "fd00:88::1"
)

var hostIPs = []hostIP{
	{"none", [2]string{any4, any6}},
	{any4, [2]string{any4, ""}},
	{any6, [2]string{"", any6}},
	{"the node's", [2]string{node.Addr4, node.Addr6}},
	{"the bridge's", [2]string{bridge4, bridge6}},
	{"127.0.0.1", [2]string{"127.0.0.1", ""}},
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

// ways are all that there are. What pods of its own subnet and the host's loopback ask is masqueraded, as their answers
// would not find back; so is what a pod of another network asks whose network masquerades; all else keeps its address.
func (w *wired) ways() (all []way) {
	node, bridge := [2]string{node.Addr4, node.Addr6}, [2]string{bridge4, bridge6}
	wire := [2]string{wire4, wire6}
	of := func(name string) [2]string {
		return [2]string{w.places[name].addrs[0].String(), w.places[name].addrs[1].String()}
	}
	return []way{
		{from: "outside", at: node},
		{from: "outside", at: bridge},
		{from: "host", at: node, kept: node},
		{from: "host", at: bridge, kept: bridge},
		{from: "host", at: wire, kept: wire},
		{from: "host", at: [2]string{"127.0.0.1", "::1"}, masqueraded: bridge, kept: [2]string{"127.0.0.1", "::1"}, mute: true},
		{from: "host", at: [2]string{"127.1.2.3", ""}, masqueraded: bridge, kept: [2]string{"127.0.0.1", ""}},
		{from: "same bridge", at: node, masqueraded: bridge},
		{from: "same bridge", at: bridge, masqueraded: bridge},
		{from: "pod", at: node, masqueraded: bridge},
		{from: "pod", at: bridge, masqueraded: bridge},
		{from: "other bridge", at: node},
		{from: "other bridge", at: bridge},
		{from: "masqueraded bridge", at: node, masqueraded: bridge},
		{from: "masqueraded bridge", at: bridge, masqueraded: bridge},
		{from: "other node", at: node},
		{from: "other node", at: wire},
		{from: "outside", at: of("same bridge"), transit: "same bridge"},
		{from: "outside", at: of("other node"), transit: "other node"},
		{from: "other node", at: of("outside"), transit: "outside"},
		{from: "other node", at: of("same bridge"), transit: "same bridge"},
		{from: "host", at: of("outside"), transit: "outside", kept: node},
		{from: "host", at: of("same bridge"), transit: "same bridge", kept: bridge},
		{from: "pod", at: of("outside"), transit: "outside", kept: node},
		{from: "pod", at: of("other bridge"), transit: "other bridge", kept: [2]string{"10.89.0.1", "fd00:89::1"}},
		{from: "same bridge", at: of("outside"), transit: "outside", kept: node},
		{from: "other bridge", at: of("same bridge"), transit: "same bridge"},
	}
}

// question is one cell of the matrix.
type question struct {
	w        *wired
	way      way
	family   int
	protocol string
	host     hostIP
}

// want is the answer that there must be.
func (q question) want() string {
	asker := q.w.places[q.way.from].addrs[q.family].String()
	port, podPort := q.host.ports()
	or := func(a string) string {
		if a == "" {
			return asker
		}
		return a
	}
	switch {
	case q.way.transit != "":
		return fmt.Sprintf("%s %d %s", q.way.transit, port, or(q.way.kept[q.family]))
	case q.host.leads(q.family, q.to().Addr()) && !(q.way.mute && q.family == 1):
		seen := q.way.masqueraded[q.family]
		if seen == "" {
			seen = q.way.kept[q.family]
		}
		return fmt.Sprintf("pod %d %s", podPort, or(seen))
	}
	return fmt.Sprintf("host %d %s", port, or(q.way.kept[q.family]))
}

func (q question) to() netip.AddrPort {
	port, _ := q.host.ports()
	return netip.AddrPortFrom(netip.MustParseAddr(q.way.at[q.family]), uint16(port))
}

// wrong asks, and says what is not as it must be.
func (q question) wrong() string {
	got, err := ask(q.w.places[q.way.from].Space, q.protocol, q.to())
	if err != nil {
		got = err.Error()
	}
	if got == q.want() {
		return ""
	}
	return fmt.Sprintf("%s asks %v over %s, hostIP %s: %q, not %q", q.way.from, q.to(), q.protocol, q.host.name, got, q.want())
}

// questions are all cells of a node.
func (w *wired) questions() (all []question) {
	for _, way := range w.ways() {
		for family, at := range way.at {
			for _, protocol := range protocols {
				for _, host := range hostIPs {
					if at != "" {
						all = append(all, question{w, way, family, protocol, host})
					}
				}
			}
		}
	}
	return all
}

// portNode is a node with a pod that has ports by a backend, and with everybody who may ask.
func portNode(p *proof, backend, filtered string) (w *wired, err error) {
	if w, err = newWired(p); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			w.close()
		}
	}()
	if err := w.filter(filtered); err != nil {
		return w, err
	}
	masquerades := fmt.Sprintf(`,"hairpinMode":true,"ipMasq":true,"ipMasqBackend":%q`, backend)
	var mappings []node.Port
	var hostPorts, podPorts []int
	for _, h := range hostIPs {
		mappings = append(mappings, h.mappings()...)
		host, pod := h.ports()
		hostPorts, podPorts = append(hostPorts, host), append(podPorts, pod)
	}
	portmap := fmt.Sprintf(`,{"type":"portmap","backend":%q,"capabilities":{"portMappings":true}}`, backend)
	for _, pod := range []struct {
		name, network string
		ports         []node.Port
	}{
		{"pod", network(88, masquerades, portmap), mappings},
		{"same bridge", network(88, masquerades, portmap), nil},
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
		more, err := portsOf(p, backend)
		rows = append(rows, more...)
		if err != nil {
			return rows, err
		}
	}
	return rows, nil
}

func portsOf(p *proof, backend string) (rows []row, err error) {
	var all []question
	for _, filtered := range []string{"0", "1"} {
		w, err := portNode(p, backend, filtered)
		if err != nil {
			return nil, err
		}
		defer w.close()
		all = append(all, w.questions()...)
	}
	cases := map[string][]question{}
	for _, q := range all {
		name := "from " + q.way.from
		if q.way.transit != "" {
			name = "in transit"
		}
		cases[name] = append(cases[name], q)
	}
	for _, name := range []string{"from outside", "from host", "from same bridge", "from pod", "from other bridge", "from masqueraded bridge", "from other node", "in transit"} {
		r := row{what: fmt.Sprintf("host ports of %s, %s", backend, name)}
		points := p.spread(len(cases[name]))
		said := make([]string, len(points))
		together(len(points), func(_, i int) { said[i] = cases[name][points[i]-1].wrong() })
		r.points = len(points)
		r.wrong = slices.DeleteFunc(said, func(s string) bool { return s == "" })
		rows = append(rows, r)
	}
	return rows, nil
}
