package main

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"os"
	"slices"
	"strings"

	"github.com/catena-cni/catena/integration/node"
)

// standing is what is not as it must be with those that are attached: no address or port twice, their leases and links, and
// nobody else's, and an answer from each at its addresses and at its host port.
func (c *crowd) standing() (wrong []string, err error) {
	all := c.attached()
	var links, addrs []string
	ports := map[int]string{}
	for _, m := range all {
		addrs = append(addrs, m.addrs...)
		links = append(links, "flood/"+m.Pod.ID+"/eth0")
		port := m.Ports[0].HostPort
		if other, found := ports[port]; found {
			wrong = append(wrong, fmt.Sprintf("%s and %s have the port %d", other, m.Pod.ID, port))
		}
		ports[port] = m.Pod.ID
	}
	leases, err := c.leases()
	if err != nil {
		return wrong, err
	}
	wrong = append(wrong, differences("lease", addrs, leases)...)
	found, err := c.veths()
	if err != nil {
		return wrong, err
	}
	wrong = append(wrong, differences("link", links, found)...)
	errs := make([]error, len(all))
	together(len(all), func(_, i int) { errs[i] = c.answers(all[i]) })
	for _, err := range errs {
		if err != nil {
			wrong = append(wrong, err.Error())
		}
	}
	return wrong, nil
}

// differences names what is missing, what nobody has, and what is there twice.
func differences(what string, want, got []string) (wrong []string) {
	gone, come := node.Diff(strings.Join(want, "\n")+"\n", strings.Join(got, "\n")+"\n")
	for _, line := range gone {
		wrong = append(wrong, "missing: the "+what+" "+line)
	}
	for _, line := range come {
		wrong = append(wrong, "nobody's: the "+what+" "+line)
	}
	return wrong
}

// leases are the addresses that host-local has given.
func (c *crowd) leases() (all []string, err error) {
	err = c.Do(func() error {
		files, err := os.ReadDir("/var/lib/cni/networks/flood")
		for _, f := range files {
			if addr, err := netip.ParseAddr(f.Name()); err == nil {
				all = append(all, addr.String())
			}
		}
		return err
	})
	return all, err
}

// veths are the owners of the bridge's ports.
func (c *crowd) veths() (all []string, err error) {
	out, err := c.Run("ip", "-j", "-d", "link")
	if err != nil {
		return nil, err
	}
	var links []struct {
		Ifname, Ifalias string
		Linkinfo        struct {
			Kind string `json:"info_kind"`
		}
	}
	if err := json.Unmarshal([]byte(out), &links); err != nil {
		return nil, fmt.Errorf("ip -j link: %w", err)
	}
	for _, l := range links {
		if l.Linkinfo.Kind == "veth" && l.Ifname != "uplink" {
			all = append(all, l.Ifalias)
		}
	}
	return all, nil
}

// answers asks a pod at its host port, over both families, and at its own addresses. What else listens there is not it: each pod
// has a port of its own.
func (c *crowd) answers(m *member) (err error) {
	if m.server == nil {
		if m.server, err = m.Pod.Serve(m.Ports[0].ContainerPort); err != nil {
			return err
		}
	}
	for _, q := range []struct{ network, at, want string }{
		{"tcp", node.Addr4, node.Outside4},
		{"udp", node.Addr6, node.Outside6},
	} {
		if got, err := c.Outside.Ask(q.network, q.at, m.Ports[0].HostPort); err != nil || got != q.want {
			return fmt.Errorf("%s: its host port is asked by %s: %q %w: %s", m.Pod.ID, q.want, got, err, c.about(m, q.network, q.at))
		}
	}
	for _, addr := range m.addrs {
		if got, err := c.Ask("tcp", addr, m.Ports[0].ContainerPort); err != nil || !slices.Contains([]string{"10.9.0.1", "fd00:9::1"}, got) {
			return fmt.Errorf("%s: it is asked by the node: %q %w", m.Pod.ID, got, err)
		}
	}
	return nil
}

// about is what is known of a pod that has not answered at its host port: whether it does so by now, and where the node looks
// for it.
func (c *crowd) about(m *member, network, at string) string {
	again, err := c.Outside.Briefly().Ask(network, at, m.Ports[0].HostPort)
	neighbours, nerr := c.Run("sh", "-c", "ip neigh; ip -6 neigh")
	link, lerr := m.Pod.Run("ip", "-o", "link", "show", "dev", "eth0")
	var lines []string
	for line := range strings.Lines(neighbours) {
		if slices.ContainsFunc(m.addrs, func(addr string) bool { return strings.HasPrefix(line, addr+" ") }) {
			lines = append(lines, strings.TrimSpace(line))
		}
	}
	return fmt.Sprintf("asked again: %q %v; the node's neighbours: %q %v; its link: %s %v",
		again, err, lines, nerr, strings.Join(strings.Fields(link), " "), lerr)
}
