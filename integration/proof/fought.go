package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"time"

	"github.com/containernetworking/cni/libcni"

	"github.com/catena-cni/catena/integration/node"
	"github.com/catena-cni/catena/internal/state/name"
)

// ground is a network that pods fight in.
type ground struct {
	what, chain string
	prepare     string // a script on the node, before each pod; as in chain, N is the number of the pod
	needs       string // as in trick
	paired      bool   // the pod's interface has an end on the host
}

const (
	groundIPAM  = `"ipam":{"type":"host-local","ranges":[[{"subnet":"10.9.0.0/24"}],[{"subnet":"fd00:9::/64"}]],"routes":[{"dst":"0.0.0.0/0"},{"dst":"::/0"}]}`
	groundTuned = `{"type":"tuning","mtu":1400,"promisc":true,"allmulti":true,"txQLen":500,"sysctl":{"net.core.somaxconn":"1000","net.ipv4.conf.IFNAME.route_localnet":"1"}}`
	groundPorts = `{"type":"portmap","capabilities":{"portMappings":true}}`
	groundRates = `{"type":"bandwidth","ingressRate":100000000,"ingressBurst":800000,"egressRate":50000000,"egressBurst":800000}`
	groundRest  = groundTuned + `,{"type":"sbr"},` + groundPorts + `,{"type":"firewall"}`
)

var grounds = []ground{
	{what: "bridge", paired: true, chain: `{"type":"bridge","bridge":"cni0","isGateway":true,"ipMasq":true,"macspoofchk":true,` + groundIPAM + `},` + groundRest + `,` + groundRates},
	{what: "bridge, iptables", paired: true, chain: `{"type":"bridge","bridge":"cni0","isGateway":true,"ipMasq":true,"ipMasqBackend":"iptables",` + groundIPAM + `},` +
		`{"type":"portmap","backend":"iptables","capabilities":{"portMappings":true}},{"type":"firewall","backend":"iptables"}`},
	{what: "bridge and vrf", paired: true, chain: `{"type":"bridge","bridge":"cni0","isGateway":true,` + groundIPAM + `},{"type":"vrf","vrfname":"blue"},` + groundPorts, needs: "probe type vrf table 77"},
	{what: "ptp", paired: true, chain: `{"type":"ptp","ipMasq":true,` + groundIPAM + `},` + strings.Replace(groundRest, `"mtu"`, `"mac":"02:00:00:00:11:22","mtu"`, 1) + `,` + groundRates},
	{what: "macvlan", chain: `{"type":"macvlan","master":"uplink",` + groundIPAM + `},` + groundRest},
	{what: "ipvlan", chain: `{"type":"ipvlan","master":"uplink",` + groundIPAM + `},` + groundRest, needs: "probe link uplink type ipvlan"},
	{what: "vlan", chain: `{"type":"vlan","master":"uplink","vlanId":10N,` + groundIPAM + `},` + groundRest, needs: "probe link uplink type vlan id 5"},
	{what: "dummy", chain: `{"type":"dummy",` + groundIPAM + `},{"type":"tuning","promisc":true},` + groundPorts + `,{"type":"firewall"}`, needs: "probe type dummy"},
	{what: "tap", chain: `{"type":"tap",` + groundIPAM + `},` + groundRest},
	{what: "host-device", chain: `{"type":"host-device","device":"devN",` + groundIPAM + `},` + groundRest,
		prepare: `ip link add devN mtu 1450 address 02:00:00:00:00:07 type veth peer name lanN netns outside; ip link set devN up; ip addr add 172.16.65.2/24 dev devN`},
	{what: "loopback", chain: `{"type":"loopback"},{"type":"tuning","sysctl":{"net.core.somaxconn":"1000"}}`},
}

// fought has pods do all that they can to their own namespaces before they are detached, by DEL or by GC. The host is as before,
// and so is the other pod of the network.
func fought(p *proof) (rows []row, err error) {
	for _, g := range grounds {
		if !p.wants(g.what) {
			continue
		}
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
	if lacks, err := r.lacks(g.needs); lacks || err != nil {
		return r, err
	}
	var had []trick
	lacking := 0
	for _, t := range tricks {
		lacks, err := lacks(t.needs)
		if err != nil {
			return r, err
		}
		switch {
		case lacks:
			lacking++
		case g.paired || !t.paired:
			had = append(had, t)
		}
	}
	if lacking > 0 {
		r.what += fmt.Sprintf(", but for %d tricks that need another kernel", lacking)
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
	last    int    // number of a pod
	before  string // the text of the node and of the other pod
}

// list is the network; whoever takes something away with it has one of its number.
func (g ground) list(number int) (*libcni.NetworkConfigList, error) {
	return node.Parse([]byte(`{"cniVersion":"1.1.0","name":"fight","plugins":[`+ofPod(g.chain, number)+`]}`), "")
}

func ofPod(text string, number int) string {
	return ofNumber.ReplaceAllString(text, fmt.Sprintf("${1}%d", number))
}

var ofNumber = regexp.MustCompile(`\b(dev|lan|10)N\b`)

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
	if err := a.prepare(0); err != nil {
		return a, err
	}
	if a.other, err = a.attach(0); err != nil {
		return a, err
	}
	holder, err := a.hold(&a.other.Pod.Space)
	if err != nil {
		return a, err
	}
	ours, err := a.hold(&a.Space)
	if err != nil {
		return a, err
	}
	a.env, err = known("OTHER", a.other)
	a.env = append(a.env, fmt.Sprint("OTHERHOLDER=", holder), fmt.Sprint("HOSTHOLDER=", ours))
	return a, err
}

// known is what a script may know of an attachment, in variables whose names begin alike.
func known(prefix string, of node.Attachment) ([]string, error) {
	out, err := of.Pod.Run("ip", "-j", "addr", "show", "dev", of.IfName)
	if err != nil {
		return nil, err
	}
	var links []struct {
		Ifindex   int
		LinkIndex int `json:"link_index"`
		Address   string
		AddrInfo  []struct{ Family, Local string } `json:"addr_info"`
	}
	if err := json.Unmarshal([]byte(out), &links); err != nil || len(links) != 1 {
		return nil, fmt.Errorf("ip -j addr: %w: %s", err, out)
	}
	at := name.Attachment{Network: of.List.Name, ContainerID: of.Pod.ID, IfName: of.IfName}
	env := []string{"ALIAS=" + at.Alias(), "HOSTLINK=" + at.HostLink(), "MAC=" + links[0].Address, "NS=" + of.Pod.Path,
		fmt.Sprint("INDEX=", links[0].Ifindex), fmt.Sprint("HOSTINDEX=", links[0].LinkIndex)}
	for _, a := range links[0].AddrInfo {
		if a.Family == "inet" {
			env = append(env, "ADDR="+a.Local)
		}
	}
	for i := range env {
		env[i] = prefix + env[i]
	}
	return env, nil
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
