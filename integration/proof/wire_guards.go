package main

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"strings"

	"golang.org/x/sys/unix"
)

// port is where ears of sockets are.
const port = 7777

// spoofed sends under other hardware addresses than one's own, from a pod that macspoofchk guards, and from a virtual machine
// in one, whose tap is in a bridge with the pod's interface.
func spoofed(p *proof) (rows []row, err error) {
	r := row{what: "hardware addresses of others"}
	w, err := newWired(p)
	if err != nil {
		return nil, err
	}
	defer w.close()
	for _, name := range []string{"pod", "machine", "same bridge"} {
		if _, err := w.attach(w.Node, name, network(88, `,"macspoofchk":true`, "")); err != nil {
			return nil, err
		}
	}
	if err := w.places["same bridge"].listen(port); err != nil {
		return nil, err
	}
	pod, bridge, err := w.podMouth("pod", "br88")
	machine, merr := w.machine("machine")
	victim, verr := macOf(w.places["same bridge"].Space, "eth0")
	if err := errors.Join(err, merr, verr); err != nil {
		return nil, err
	}
	for _, at := range []struct{ place, link string }{{"same bridge", "eth0"}, {"host", "br88"}} {
		e, err := w.earAt(at.place, at.link)
		if err != nil {
			return nil, err
		}
		for _, from := range []mouth{pod, machine} {
			own := func(t token) []byte { return ethernet(broadcast, from.mac, typeLocal, []byte(t)) }
			forged := forgeries(w, from.mac, victim, bridge)
			if err := r.hear(e, from, append([]packet{{"a frame of one's own", own, true}}, forged...), from, own); err != nil {
				return nil, err
			}
		}
	}
	// What was forged has not taken the neighbour's place in the bridge.
	to := netip.AddrPortFrom(w.places["same bridge"].addrs[0], port)
	answer, err := ask(&w.Space, "udp", to, patience)
	r.is(answer == fmt.Sprintf("same bridge %d %s", port, gateway4), "the host asks the neighbour: %q, %v", answer, err)
	return []row{r}, nil
}

func forgeries(w *wired, own, victim, bridge net.HardwareAddr) (all []packet) {
	nobody := net.HardwareAddr{2, 0, 0x5e, 0, 0, 0x42}
	from, to := w.places["same bridge"].addrs, w.places["pod"].addrs
	gateway := [2]netip.Addr{netip.MustParseAddr(gateway4), netip.MustParseAddr(gateway6)}
	for _, forged := range []struct {
		whose string
		mac   net.HardwareAddr
	}{{"nobody", nobody}, {"the neighbour", victim}, {"the bridge", bridge}} {
		add := func(what string, frame func(token) []byte) {
			all = append(all, packet{what + " under the address of " + forged.whose, frame, false})
		}
		add("a frame", func(t token) []byte { return ethernet(broadcast, forged.mac, typeLocal, []byte(t)) })
		add("a frame in a VLAN", func(t token) []byte {
			return ethernet(broadcast, forged.mac, typeVLAN, tagged(5, typeLocal, []byte(t)))
		})
		add("ARP", func(t token) []byte {
			return ethernet(broadcast, forged.mac, typeARP, arp(2, forged.mac, from[0], to[0], t))
		})
		add("ARP in a frame of one's own, as sender", func(t token) []byte {
			return ethernet(broadcast, own, typeARP, arp(2, forged.mac, gateway[0], to[0], t))
		})
		for family := range from {
			add("a datagram", datagram(broadcast, forged.mac, netip.AddrPortFrom(from[family], port), netip.AddrPortFrom(gateway[family], port)))
		}
	}
	return all
}

// machine is the mouth of a virtual machine in a pod, which has the pod's hardware address.
func (w *wired) machine(name string) (m mouth, err error) {
	s := w.places[name].Space
	if m.mac, err = macOf(s, "eth0"); err != nil {
		return m, err
	}
	var tap *os.File
	err = s.Do(func() error {
		fd, err := unix.Open("/dev/net/tun", unix.O_RDWR|unix.O_CLOEXEC, 0)
		if err != nil {
			return err
		}
		tap = os.NewFile(uintptr(fd), "tap")
		ifreq, err := unix.NewIfreq("tap0")
		if err != nil {
			return err
		}
		ifreq.SetUint16(unix.IFF_TAP | unix.IFF_NO_PI)
		return unix.IoctlIfreq(fd, unix.TUNSETIFF, ifreq)
	})
	if err != nil {
		return m, fmt.Errorf("a tap in %s: %w", name, err)
	}
	w.files = append(w.files, tap)
	m.name = name
	m.send = func(frames ...[]byte) error {
		return onOneProcessor(s, func() error {
			for _, frame := range frames {
				if _, err := unix.Write(int(tap.Fd()), frame); err != nil {
					return err
				}
			}
			return nil
		})
	}
	_, err = s.RunWith(nil, "link add inside type bridge\nlink set inside up\nlink set eth0 address 02:00:5e:00:00:77 master inside\nlink set tap0 master inside up\n", "ip", "-batch", "-")
	return m, err
}

// apart looks at who reaches a pod, and who does not: pods on isolated ports, and the ingress policies.
func apart(p *proof) (rows []row, err error) {
	isolated := row{what: "isolated ports"}
	err = isolated.apart(p, "0", "", `,"portIsolation":true`, true)
	rows = append(rows, isolated)
	for _, backend := range []string{"nftables", "iptables"} {
		for _, policy := range []string{"same-bridge", "isolated"} {
			r := row{what: fmt.Sprintf("ingressPolicy %s of %s", policy, backend)}
			firewall := fmt.Sprintf(`,{"type":"firewall","backend":%q,"ingressPolicy":%q}`, backend, policy)
			for _, filtered := range []string{"0", "1"} {
				if backend == "iptables" && policy == "isolated" && filtered == "0" {
					continue // what iptables does not see
				}
				err = errors.Join(err, r.apart(p, filtered, firewall, "", policy == "isolated"))
			}
			rows = append(rows, r)
		}
	}
	return rows, err
}

// apart sends datagrams to a pod from everywhere. Pods of other bridges do not reach it where there is a policy.
func (r *row) apart(p *proof, filtered, firewall, bridge string, isolated bool) error {
	w, err := newWired(p)
	if err != nil {
		return err
	}
	defer w.close()
	if err := w.filter(filtered); err != nil {
		return err
	}
	for _, pod := range []struct {
		name   string
		number int
	}{{"pod", 88}, {"same bridge", 88}, {"other bridge", 89}} {
		if _, err := w.attach(w.Node, pod.name, network(pod.number, bridge, firewall)); err != nil {
			return err
		}
	}
	near, host, err := w.podMouth("same bridge", "br88")
	far, farHost, ferr := w.podMouth("other bridge", "br89")
	pod, perr := mouthAt(w.places["pod"].Space, "eth0")
	out, oerr := mouthAt(&w.Outside, "node")
	uplink, uerr := macOf(&w.Space, "uplink")
	own, herr := mouthAt(&w.Space, "br88")
	if err := errors.Join(err, ferr, perr, oerr, uerr, herr); err != nil {
		return err
	}
	if err := r.flooded(w, near, own, isolated, strings.Contains(firewall, "iptables")); err != nil {
		return err
	}
	for family := range 2 {
		from := func(name string) netip.AddrPort { return netip.AddrPortFrom(w.places[name].addrs[family], port) }
		gateway := netip.AddrPortFrom(netip.MustParseAddr([]string{gateway4, gateway6}[family]), port)
		inside, err := w.earOf("pod", family == 1, port)
		outside, oerr := w.earOf("outside", family == 1, port)
		hosts, herr := w.earOf("host", family == 1, port)
		if err := errors.Join(err, oerr, herr); err != nil {
			return err
		}
		fromHost := datagram(pod.mac, own.mac, gateway, from("pod"))
		for _, way := range []struct {
			e       ear
			from    mouth
			frame   func(token) []byte
			arrives bool
		}{
			{inside, near, datagram(pod.mac, near.mac, from("same bridge"), from("pod")), !isolated},
			{inside, near, datagram(host, near.mac, from("same bridge"), from("pod")), !isolated || firewall == ""}, // what the host routes is no frame between ports
			{inside, far, datagram(farHost, far.mac, from("other bridge"), from("pod")), firewall == ""},
			{inside, out, datagram(uplink, out.mac, from("outside"), from("pod")), true},
		} {
			if err := r.hear(way.e, way.from, []packet{{fmt.Sprintf("a datagram of IPv%d", 4+2*family), way.frame, way.arrives}}, own, fromHost); err != nil {
				return err
			}
		}
		// A pod itself reaches all that is no pod.
		leaves := datagram(host, pod.mac, from("pod"), from("outside"))
		toHost := datagram(host, pod.mac, from("pod"), gateway)
		err = r.hear(outside, pod, []packet{{"what the pod sends out", leaves, true}}, pod, leaves)
		herr = r.hear(hosts, pod, []packet{{"what the pod sends to the host", toHost, true}}, pod, toHost)
		if err := errors.Join(err, herr); err != nil {
			return err
		}
	}
	return nil
}

// flooded sends what goes to all ports of a bridge. Of frames of bridges, iptables sees those of IP alone.
func (r *row) flooded(w *wired, near, host mouth, isolated, iptables bool) error {
	e, err := w.earAt("pod", "eth0")
	if err != nil {
		return err
	}
	frame := func(from mouth) func(token) []byte {
		return func(t token) []byte { return ethernet(broadcast, from.mac, typeLocal, []byte(t)) }
	}
	return r.hear(e, near, []packet{
		{"a router advertisement", advertisement(near.mac), !isolated}, {"a broadcast frame", frame(near), !isolated || iptables},
	}, host, frame(host))
}
