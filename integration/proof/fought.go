package main

import (
	"cmp"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"time"

	"github.com/containernetworking/cni/libcni"

	"github.com/catena-cni/catena/integration/node"
	"github.com/catena-cni/catena/internal/state/name"
)

// ground is a network that pods fight in.
type ground struct {
	what, chain string
	prepare     string // a script on the node, before each pod
	needs       string // as in trick
}

const (
	groundIPAM  = `"ipam":{"type":"host-local","ranges":[[{"subnet":"10.9.0.0/24"}],[{"subnet":"fd00:9::/64"}]],"routes":[{"dst":"0.0.0.0/0"},{"dst":"::/0"}]}`
	groundTuned = `{"type":"tuning","mtu":1400,"promisc":true,"allmulti":true,"txQLen":500,"sysctl":{"net.core.somaxconn":"1000","net.ipv4.conf.IFNAME.route_localnet":"1"}}`
	groundPorts = `{"type":"portmap","capabilities":{"portMappings":true}}`
	groundRates = `{"type":"bandwidth","ingressRate":100000000,"ingressBurst":800000,"egressRate":50000000,"egressBurst":800000}`
	groundRest  = groundTuned + `,{"type":"sbr"},` + groundPorts + `,{"type":"firewall"}`
)

var grounds = []ground{
	{what: "bridge", chain: `{"type":"bridge","bridge":"cni0","isGateway":true,"ipMasq":true,"macspoofchk":true,` + groundIPAM + `},` + groundRest + `,` + groundRates},
	{what: "bridge, iptables", chain: `{"type":"bridge","bridge":"cni0","isGateway":true,"ipMasq":true,"ipMasqBackend":"iptables",` + groundIPAM + `},` +
		`{"type":"portmap","backend":"iptables","capabilities":{"portMappings":true}},{"type":"firewall","backend":"iptables"}`},
	{what: "bridge and vrf", chain: `{"type":"bridge","bridge":"cni0","isGateway":true,` + groundIPAM + `},{"type":"vrf","vrfname":"blue"},` + groundPorts, needs: "probe type vrf table 77"},
	{what: "ptp", chain: `{"type":"ptp","ipMasq":true,` + groundIPAM + `},` + strings.Replace(groundRest, `"mtu"`, `"mac":"02:00:00:00:11:22","mtu"`, 1) + `,` + groundRates},
	{what: "macvlan", chain: `{"type":"macvlan","master":"uplink",` + groundIPAM + `},` + groundRest},
	{what: "ipvlan", chain: `{"type":"ipvlan","master":"uplink",` + groundIPAM + `},` + groundRest, needs: "probe link uplink type ipvlan"},
	{what: "vlan", chain: `{"type":"vlan","master":"uplink","vlanId":5,` + groundIPAM + `},` + groundRest, needs: "probe link uplink type vlan id 5"},
	{what: "dummy", chain: `{"type":"dummy",` + groundIPAM + `},{"type":"tuning","promisc":true},` + groundPorts + `,{"type":"firewall"}`, needs: "probe type dummy"},
	{what: "tap", chain: `{"type":"tap",` + groundIPAM + `},` + groundRest},
	{what: "host-device", chain: `{"type":"host-device","device":"DEVICE",` + groundIPAM + `},` + groundRest,
		prepare: `ip link show DEVICE || ip link add DEVICE mtu 1450 address 02:00:00:00:00:07 type veth peer name lan-DEVICE netns outside; ip link set DEVICE up; ip addr replace 172.16.65.2/24 dev DEVICE`},
	{what: "loopback", chain: `{"type":"loopback"},{"type":"tuning","sysctl":{"net.core.somaxconn":"1000"}}`},
}

// fought has pods do all that they can to their own namespaces before they are detached, by DEL or by GC. The host is as before,
// and so is the other pod of the network.
func fought(p *proof) (rows []row, err error) {
	for _, g := range grounds {
		began := time.Now()
		r, err := g.fight(p)
		rows = append(rows, r)
		if err != nil {
			return rows, fmt.Errorf("%s: %w", g.what, err)
		}
		fmt.Fprintf(os.Stderr, "%s: %d points, %d wrong (%.0f s)\n", r.what, r.points, len(r.wrong), time.Since(began).Seconds())
	}
	return rows, nil
}

// fight tries each trick against either way to detach.
func (g ground) fight(p *proof) (r row, err error) {
	r.what = g.what
	if g.needs != "" {
		if lacks, err := lacks(g.needs); lacks || err != nil {
			r.what += lackingHere
			return r, err
		}
	}
	var had []trick
	for _, t := range tricks {
		if t.needs != "" {
			if lacks, err := lacks(t.needs); err != nil {
				return r, err
			} else if lacks {
				continue
			}
		}
		had = append(had, t)
	}
	if len(had) < len(tricks) {
		r.what += fmt.Sprintf(", but for %d tricks that need another kernel", len(tricks)-len(had))
	}
	points := p.spread(2 * len(had))
	arenas := make([]*arena, workers())
	defer func() {
		for _, a := range arenas {
			a.close()
		}
	}()
	wrong, errs := make([][]string, len(points)), make([]error, len(points))
	together(len(points), func(worker, i int) {
		if arenas[worker] == nil {
			if arenas[worker], errs[i] = newArena(p, g); errs[i] != nil {
				return
			}
		}
		at := points[i] - 1
		if wrong[i], errs[i] = arenas[worker].bout(had[at/2], at%2 == 1); len(wrong[i]) > 0 || errs[i] != nil {
			arenas[worker].close()
			arenas[worker] = nil
		}
	})
	r.points = len(points)
	for i := range wrong {
		r.wrong = append(r.wrong, wrong[i]...)
	}
	return r, errors.Join(errs...)
}

// arena is a node with a pod of the network that nothing may happen to.
type arena struct {
	*node.Node
	runtime *node.Runtime
	ground  ground
	other   node.Attachment
	holders []*exec.Cmd
	env     []string
	before  string // the text of the node and of the other pod
}

// list is the network with a device of its own for whom it takes one away.
func (g ground) list(device string) (*libcni.NetworkConfigList, error) {
	return node.Parse([]byte(strings.ReplaceAll(`{"cniVersion":"1.1.0","name":"fight","plugins":[`+g.chain+`]}`, "DEVICE", device)), "")
}

func newArena(p *proof, g ground) (a *arena, err error) {
	a = &arena{ground: g}
	defer func() {
		if err != nil {
			a.close()
		}
	}()
	if a.Node, err = node.New(); err != nil {
		return a, err
	}
	a.runtime = a.Runtime(nil, p.plugins)
	if err := a.prepare("dev0"); err != nil {
		return a, err
	}
	if a.other, err = a.attach("other", "dev0", 8081); err != nil {
		return a, err
	}
	looked, err := look(a.other)
	if err != nil {
		return a, err
	}
	holder, err := a.hold(&a.other.Pod.Space)
	if err != nil {
		return a, err
	}
	ours, err := a.hold(&a.Space)
	a.env = append(known("OTHER", a.other, looked), "OTHERNS="+a.other.Pod.Path, fmt.Sprint("HOLDER=", holder), fmt.Sprint("HOSTHOLDER=", ours))
	return a, err
}

// known is what a script may know of an attachment, by the two lines that ip shows of it.
func known(prefix string, of node.Attachment, text string) []string {
	at := name.Attachment{Network: of.List.Name, ContainerID: of.Pod.ID, IfName: of.IfName}
	lines := strings.Split(text+"\n\n", "\n")
	mac, addr := strings.Fields(lines[0] + " - - -")[2], strings.Fields(lines[1] + " - - -")[2]
	addr, _, _ = strings.Cut(addr, "/")
	return []string{cmp.Or(prefix, "ME") + "=" + at.Alias(), cmp.Or(prefix, "HOST") + "LINK=" + at.HostLink(), prefix + "MAC=" + mac, prefix + "ADDR=" + addr}
}

func (a *arena) close() {
	if a == nil {
		return
	}
	for _, h := range a.holders {
		_ = h.Process.Kill()
		_ = h.Wait()
	}
	if a.other.Pod != nil {
		_ = a.other.Pod.Remove()
	}
	if a.Node != nil {
		_ = a.Node.Close()
	}
}
