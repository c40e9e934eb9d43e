package main

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"

	"github.com/catena-cni/catena/integration/node"
)

// flows go on from one port while the pod behind a host port is detached and another one has the port: the same flow leads
// to the pod, to the host, and to the new pod.
func flows(p *proof) (rows []row, err error) {
	for _, backend := range []string{"nftables", "iptables"} {
		r := row{what: "flows older than the pod, host ports by " + backend}
		err = errors.Join(err, r.flows(p, backend))
		rows = append(rows, r)
	}
	return rows, err
}

// flow is a client that goes on asking.
type flow struct {
	client
	what string
}

func (r *row) flows(p *proof, backend string) error {
	w, err := newWired(p)
	if err != nil {
		return err
	}
	defer w.close()
	list := network(88, "", fmt.Sprintf(`,{"type":"portmap","backend":%q,"capabilities":{"portMappings":true}}`, backend))
	var ports []node.Port
	for _, protocol := range []string{"udp", "sctp"} {
		ports = append(ports, node.Port{HostPort: 8000, ContainerPort: 9000, Protocol: protocol})
	}
	first, err := w.attach(w.Node, "first", list, ports...)
	_, nerr := w.attach(w.Node, "same bridge", list)
	err = errors.Join(err, nerr, w.places["host"].listen(8000))
	if err != nil {
		return err
	}
	var all []flow
	for _, from := range []struct {
		name string
		to   []string
	}{
		{"outside", []string{node.Addr4, node.Addr6}}, {"same bridge", []string{gateway4, gateway6}}, {"host", []string{"127.0.0.1", node.Addr4, node.Addr6}},
	} {
		for _, to := range from.to {
			for _, protocol := range []string{"udp", "sctp"} {
				f := flow{what: fmt.Sprintf("from %s to %s over %s", from.name, to, protocol)}
				err := w.places[from.name].Do(func() (err error) {
					f.client, err = newClient(protocol, netip.AddrPortFrom(netip.MustParseAddr(to), 8000))
					return err
				})
				if err != nil {
					return err
				}
				defer f.Close()
				all = append(all, f)
			}
		}
	}
	lead := func(to string) {
		for _, f := range all {
			answer, err := f.ask(patience)
			r.is(strings.HasPrefix(answer, to+" "), "%s: %q, %v, and not %s", f.what, answer, err, to)
		}
	}
	if err := w.places["first"].listen(9000); err != nil {
		return err
	}
	lead("first")
	if err := w.Runtime(nil, p.plugins).Del(first); err != nil {
		return err
	}
	lead("host")
	if _, err := w.attach(w.Node, "second", list, ports...); err != nil {
		return err
	}
	if err := w.places["second"].listen(9000); err != nil {
		return err
	}
	lead("second")
	return nil
}
