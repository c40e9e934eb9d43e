package main

import (
	"context"
	"errors"
	"fmt"
	"math/bits"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"sync"

	"github.com/containernetworking/cni/libcni"

	"github.com/catena-cni/catena/integration/node"
)

// flood is a kind of network that many pods come to at the same time.
type flood struct{ what, backend, ipam string }

var floods = []flood{
	{"nftables", "nftables", ""},
	{"iptables", "iptables", ""},
	{"nftables, stickyKey", "nftables", `"stickyKey":"K8S_POD_NAME",`},
}

// pods are as many at the same time as fit into no /24: fifteen for each point, and then so many fewer addresses.
func (p *proof) pods() int {
	if p.points == 0 {
		return 300
	}
	return min(300, 15*p.points)
}

// flooded has more pods at the same time than there are addresses, some of which want the same host port. Half of the calls
// are killed.
func flooded(p *proof) (rows []row, err error) {
	for _, f := range floods {
		if !p.wants(f.what) {
			continue
		}
		more, err := p.flood(f)
		for _, r := range more {
			r.what = f.what + ", " + r.what
			rows = append(rows, r)
		}
		if err != nil {
			return rows, fmt.Errorf("%s: %w", f.what, err)
		}
	}
	return rows, nil
}

// crowd is a node with its pods.
type crowd struct {
	*node.Node
	plugins  string
	list     *libcni.NetworkConfigList
	pods     []*member
	capacity int // in IPv4 addresses
}

// member is a pod of a crowd. It has addresses while it is attached.
type member struct {
	node.Attachment
	addrs  []string
	rival  bool // others want its host port too
	ctx    context.Context
	err    error // of its last call
	server *node.Server
}

// rivals want the same host port.
const rivals = 3

func newCrowd(p *proof, f flood) (*crowd, error) {
	n, err := node.New()
	if err != nil {
		return nil, err
	}
	c := &crowd{Node: n, plugins: p.plugins}
	size := bits.Len(uint(p.pods())) - 1
	c.capacity = 1<<size - 3 // without the network's, the gateway's and the broadcast's
	c.list, err = node.Parse(fmt.Appendf(nil, `{"cniVersion":"1.1.0","name":"flood","plugins":[
		{"type":"bridge","bridge":"cni0","isDefaultGateway":true,"hairpinMode":true,"ipMasq":true,"ipMasqBackend":%[1]q,
			"ipam":{"type":"host-local",%[2]s"ranges":[[{"subnet":"10.9.0.0/%[3]d"}],[{"subnet":"fd00:9::/64"}]]}},
		{"type":"portmap","backend":%[1]q,"capabilities":{"portMappings":true}},
		{"type":"tuning","mtu":1400,"sysctl":{"net.core.somaxconn":"1000"}},
		{"type":"firewall","backend":%[1]q}]}`, f.backend, f.ipam, 32-size), "")
	for i := 0; i < p.pods() && err == nil; i++ {
		m := &member{rival: i%10 < rivals}
		port := 20000 + i
		if m.rival {
			port = 10000 + i/10
		}
		m.Pod, err = n.Pod(fmt.Sprintf("pod-%d", i))
		m.Attachment = node.Attachment{Pod: m.Pod, List: c.list, IfName: "eth0", Args: [][2]string{{"IgnoreUnknown", "1"}, {"K8S_POD_NAME", fmt.Sprint("name-", i)}},
			Ports: []node.Port{{HostPort: port, ContainerPort: 30000 + i, Protocol: "tcp"}, {HostPort: port, ContainerPort: 30000 + i, Protocol: "udp"}}}
		c.pods = append(c.pods, m)
	}
	return c, err
}

// close ends what keeps the pods' namespaces alive.
func (c *crowd) close() {
	for _, m := range c.pods {
		if m.server != nil {
			m.server.Close()
		}
		_ = m.Pod.Remove()
	}
	_ = c.Close()
}

func (p *proof) flood(f flood) (rows []row, err error) {
	c, err := newCrowd(p, f)
	if err != nil {
		return nil, err
	}
	defer c.close()
	before, err := c.Text()
	for _, round := range []struct {
		what string
		try  func() []string
	}{
		{"ADDs at the same time, half of them killed, then GCs", c.come},
		{"DELs beside ADDs, half of them killed, then GCs", c.change},
		{"GCs beside ADDs", c.collectBeside},
		{"DELs at the same time", c.leave},
	} {
		if err != nil {
			return rows, err
		}
		r := row{what: round.what, points: len(c.pods), wrong: round.try()}
		fmt.Fprintf(os.Stderr, "%s, %s: %d of %d attached\n", f.what, round.what, len(c.attached()), len(c.pods))
		var more []string
		more, err = c.standing()
		r.wrong = append(r.wrong, more...)
		rows = append(rows, r)
	}
	text, err := c.Text()
	_, left := node.Left(before, text, "cni0")
	for _, line := range left {
		if !strings.Contains(line, "/.sticky/") { // that is for whom the address is kept
			rows[len(rows)-1].wrong = append(rows[len(rows)-1].wrong, "left: "+line)
		}
	}
	return rows, err
}

// come attaches all.
func (c *crowd) come() []string {
	c.rush(true, c.pods, nil, nil)
	wrong := append(refusals(c.pods), unwon(c.pods)...)
	full := slices.ContainsFunc(c.pods, func(m *member) bool { return m.err != nil && strings.Contains(m.err.Error(), noAddress) })
	if leases, err := c.leases(); full && len(leases) < 2*c.capacity {
		// IPv6 has addresses for all, and who has none of IPv4 keeps none.
		wrong = append(wrong, fmt.Sprintf("%q, with %d leases of 2 x %d: %v", noAddress, len(leases), c.capacity, err))
	}
	return append(wrong, c.collect(c.attached())...)
}

// change detaches half and attaches those that were not.
func (c *crowd) change() []string {
	adds, all := c.absent(), c.attached()
	dels := all[:len(all)/2]
	c.rush(true, adds, dels, nil)
	return slices.Concat(refusals(adds), refusals(dels), c.collect(c.attached()))
}

// collectBeside attaches those that were not, all of whom the runtime says are valid. The specification has no GC beside an
// ADD: who is refused by it says so, and DEL takes the rest.
func (c *crowd) collectBeside() (wrong []string) {
	dels := c.attached()
	c.rush(false, nil, dels[:len(dels)/2], nil)
	wrong = refusals(dels)
	adds := c.absent()
	c.rush(false, adds, nil, func() { wrong = append(wrong, c.collect(c.pods)...) })
	dels = c.absent()
	c.rush(false, nil, dels, nil)
	return append(wrong, refusals(dels)...)
}

func (c *crowd) leave() []string {
	c.rush(false, nil, c.pods, nil)
	return refusals(c.pods)
}

func (c *crowd) attached() (all []*member) {
	for _, m := range c.pods {
		if m.addrs != nil {
			all = append(all, m)
		}
	}
	return all
}

func (c *crowd) absent() (all []*member) {
	for _, m := range c.pods {
		if m.addrs == nil {
			all = append(all, m)
		}
	}
	return all
}

// rush attaches and detaches at the same time. Where half are to be killed, of those without rivals, one of
// them is so at every other moment when some plugin ends.
func (c *crowd) rush(kill bool, adds, dels []*member, beside func()) {
	var victims []context.CancelFunc
	for _, m := range slices.Concat(adds, dels) {
		ctx, cancel := context.WithCancel(context.Background())
		defer cancel()
		m.ctx = ctx
		if kill && !m.rival && rand.N(2) == 0 {
			victims = append(victims, cancel)
		}
	}
	rand.Shuffle(len(victims), func(i, j int) { victims[i], victims[j] = victims[j], victims[i] })
	r := c.Runtime(func(node.Call) {
		if len(victims) > 0 && rand.N(2) == 0 {
			victims[0]()
			victims = victims[1:]
		}
	}, c.plugins)
	var all sync.WaitGroup
	for _, m := range adds {
		all.Go(func() { m.add(r) })
	}
	for _, m := range dels {
		all.Go(func() { m.del(r) })
	}
	if beside != nil {
		all.Go(beside)
	}
	all.Wait()
}

func (m *member) add(r *node.Runtime) {
	result, err := r.Within(m.ctx).Add(m.Attachment)
	if m.err = err; err != nil {
		return
	}
	for _, ip := range result.IPs {
		m.addrs = append(m.addrs, ip.Address.IP.String())
	}
}

// del ends the attachment, even where it is killed: to take the rest is the next DEL's, or GC's.
func (m *member) del(r *node.Runtime) {
	m.addrs, m.err = nil, r.Within(m.ctx).Del(m.Attachment)
}

// What an ADD may say.
const (
	noAddress = "no address is free"
	held      = " is held by "
)

// refusals are what must not be refused.
func refusals(all []*member) (wrong []string) {
	for _, m := range all {
		switch {
		case m.err == nil, strings.Contains(m.err.Error(), noAddress), m.rival && strings.Contains(m.err.Error(), held):
		case m.ctx.Err() != nil && wasKilled(m.err.Error()):
		default:
			wrong = append(wrong, fmt.Sprintf("%s: %v", m.Pod.ID, m.err))
		}
	}
	return wrong
}

// wasKilled knows a call that was killed, also one that had printed its result: libcni takes that for an error without
// words.
func wasKilled(said string) bool {
	return strings.Contains(said, "signal: killed") || strings.Contains(said, context.Canceled.Error()) || strings.HasSuffix(said, "): ")
}

// unwon are the host ports that nobody got though somebody was told that another has it.
func unwon(all []*member) (wrong []string) {
	lost := map[int]string{}
	for _, m := range all {
		if m.err != nil && strings.Contains(m.err.Error(), held) {
			lost[m.Ports[0].HostPort] = m.err.Error()
		}
	}
	for _, m := range all {
		if m.addrs != nil {
			delete(lost, m.Ports[0].HostPort)
		}
	}
	for port, said := range lost {
		wrong = append(wrong, fmt.Sprintf("nobody has the port %d: %s", port, said))
	}
	return wrong
}

// collect runs two GCs at the same time.
func (c *crowd) collect(valid []*member) (wrong []string) {
	var attachments []node.Attachment
	for _, m := range valid {
		attachments = append(attachments, m.Attachment)
	}
	errs := make([]error, 2)
	var all sync.WaitGroup
	for i := range errs {
		all.Go(func() { errs[i] = c.Runtime(nil, c.plugins).GC(c.list, attachments...) })
	}
	all.Wait()
	if err := errors.Join(errs...); err != nil {
		wrong = append(wrong, "GC: "+err.Error())
	}
	return wrong
}
