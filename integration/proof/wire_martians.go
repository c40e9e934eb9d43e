package main

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/catena-cni/catena/integration/node"
)

// martians sends to and from 127.0.0.0/8 and ::1 on the wire, whither host ports have the host route such packets
// (route_localnet, CVE-2020-8558): no socket of the host or of a pod hears of it.
func martians(p *proof) (rows []row, err error) {
	for _, backend := range []string{"nftables", "iptables"} {
		r := row{what: "127.0.0.1 and ::1 on the wire, host ports by " + backend}
		for _, filtered := range []string{"0", "1"} {
			err = errors.Join(err, r.martians(p, backend, filtered))
		}
		rows = append(rows, r)
	}
	return rows, err
}

// neighbour is who sends to the host.
type neighbour struct {
	mouth
	host  net.HardwareAddr
	own   [2]netip.Addr
	hosts [2]string // addresses of the host
}

func (r *row) martians(p *proof, backend, filtered string) error {
	w, err := newWired(p)
	if err != nil {
		return err
	}
	defer w.close()
	if err := w.filter(filtered); err != nil {
		return err
	}
	portmap := fmt.Sprintf(`,{"type":"portmap","backend":%q,"capabilities":{"portMappings":true}}`, backend)
	mapped := node.Port{HostPort: 8000, ContainerPort: 9000, Protocol: "udp"}
	pair := node.Port{HostPort: 8001, ContainerPort: 9001, Protocol: "udp"}
	_, err = w.attach(w.Node, "pod", network(88, "", portmap), mapped)
	_, nerr := w.attach(w.Node, "same bridge", network(88, "", portmap))
	_, perr := w.attach(w.Node, "pair", addressed(92, `"type":"ptp"`, portmap, true), pair)
	if err := errors.Join(err, nerr, perr); err != nil {
		return err
	}
	hostEnd := w.places["pair"].hostEnd
	for _, link := range []string{"br88", hostEnd} {
		if on, err := w.ReadFile("/proc/sys/net/ipv4/conf/" + link + "/route_localnet"); on != "1" {
			return fmt.Errorf("route_localnet of %s is %q, so that nothing would be proved: %w", link, on, errors.Join(err, unix.EINVAL))
		}
	}
	near, bridge, err := w.podMouth("same bridge", "br88")
	far, end, ferr := w.podMouth("pair", hostEnd)
	out, oerr := mouthAt(&w.Outside, "node")
	uplink, uerr := macOf(&w.Space, "uplink")
	podMAC, perr := macOf(w.places["pod"].Space, "eth0")
	if err := errors.Join(err, ferr, oerr, uerr, perr); err != nil {
		return err
	}
	neighbours := []neighbour{
		{near, bridge, w.places["same bridge"].addrs, [2]string{gateway4, gateway6}},
		{far, end, w.places["pair"].addrs, [2]string{"10.92.0.1", "fd00:92::1"}},
		{out, uplink, w.places["outside"].addrs, [2]string{node.Addr4, node.Addr6}},
	}
	for family, loopbacks := range [][]string{{"127.0.0.1", "127.9.9.9"}, {"::1"}} {
		host, err := w.earOf("host", family == 1, port)
		pod, perr := w.earOf("pod", family == 1, mapped.ContainerPort)
		if err := errors.Join(err, perr); err != nil {
			return err
		}
		for _, n := range neighbours {
			to := netip.MustParseAddr(n.hosts[family])
			err := r.loopback(host, n.mouth, n.host, n.own[family], to, port, loopbacks)
			err = errors.Join(err, r.loopback(pod, n.mouth, n.host, n.own[family], to, mapped.HostPort, loopbacks))
			if err != nil {
				return err
			}
		}
		if err := r.loopback(pod, near, podMAC, w.places["same bridge"].addrs[family], w.places["pod"].addrs[family], mapped.ContainerPort, loopbacks); err != nil {
			return err
		}
	}
	return nil
}

// loopback sends to and from a loopback's addresses, and at last from one's own to the one that is there.
func (r *row) loopback(e ear, from mouth, mac net.HardwareAddr, own, to netip.Addr, port int, loopbacks []string) error {
	at := func(a netip.Addr) netip.AddrPort { return netip.AddrPortFrom(a, uint16(port)) }
	var packets []packet
	for _, a := range loopbacks {
		lo := netip.MustParseAddr(a)
		packets = append(packets,
			packet{fmt.Sprintf("a datagram to %v", at(lo)), datagram(mac, from.mac, at(own), at(lo)), false},
			packet{fmt.Sprintf("a datagram from %v to %v", lo, at(to)), datagram(mac, from.mac, at(lo), at(to)), false},
			packet{fmt.Sprintf("a datagram from %v to %v", lo, at(lo)), datagram(mac, from.mac, at(lo), at(lo)), false})
	}
	return r.hear(e, from, packets, from, datagram(mac, from.mac, at(own), at(to)))
}

// advertised sends router advertisements out of pods: they change nothing on the host (CVE-2020-10749), whether it forwards
// IPv6 or not. A pod takes them as its own settings say, which are the kernel's, as with upstream's plugins.
func advertised(p *proof) (rows []row, err error) {
	r := row{what: "router advertisements of pods"}
	for _, six := range []bool{false, true} {
		err = errors.Join(err, r.advertised(p, six))
	}
	return []row{r}, err
}

const advertisedPrefix = "2001:db8:bad:"

func (r *row) advertised(p *proof, six bool) error {
	w, err := newWired(p)
	if err != nil {
		return err
	}
	defer w.close()
	bridge := addressed(88, `"type":"bridge","bridge":"br88","isDefaultGateway":true`, "", six)
	_, err = w.attach(w.Node, "pod", bridge)
	_, nerr := w.attach(w.Node, "same bridge", bridge)
	_, perr := w.attach(w.Node, "pair", addressed(92, `"type":"ptp"`, "", six))
	if err := errors.Join(err, nerr, perr); err != nil {
		return err
	}
	for _, at := range []struct{ pod, link string }{{"pod", "br88"}, {"pair", w.places["pair"].hostEnd}} {
		from, err := mouthAt(w.places[at.pod].Space, "eth0")
		e, eerr := w.earAt("host", at.link)
		if err := errors.Join(err, eerr); err != nil {
			return err
		}
		own := func(t token) []byte { return ethernet(broadcast, from.mac, typeLocal, []byte(t)) }
		if err := r.hear(e, from, []packet{{"a router advertisement", advertisement(from.mac), true}}, from, own); err != nil {
			return err
		}
		took, err := took(&w.Space)
		r.is(err == nil && !took, "the host has taken the router advertisement of %s by %s, IPv6: %t, %v", at.pod, at.link, six, err)
	}
	pod := w.places["same bridge"].Space
	accepts, err := pod.ReadFile("/proc/sys/net/ipv6/conf/eth0/accept_ra")
	common, cerr := pod.ReadFile("/proc/sys/net/ipv6/conf/default/accept_ra")
	r.is(accepts == common, "accept_ra of a pod is %s, and its kernel's %s", accepts, common)
	// It is the proof that the advertisement is one. A busy kernel may hand it to the pod after it has handed the end to the
	// host, or not at all while a port is new.
	from, merr := mouthAt(w.places["pod"].Space, "eth0")
	if merr != nil {
		return merr
	}
	terr := until(func() error {
		if taken, err := took(pod); taken || err != nil {
			return err
		}
		return errors.Join(fmt.Errorf("a pod with accept_ra %s has not taken the router advertisement", accepts), from.send(advertisement(from.mac)(newToken())))
	})
	r.is(terr == nil, "%v", terr)
	return errors.Join(err, cerr)
}

// took reports whether a space has something of the advertisement.
func took(s *node.Space) (bool, error) {
	text, err := s.RunWith(nil, "route show table all\naddr show\n", "ip", "-6", "-batch", "-")
	return strings.Contains(text, advertisedPrefix) || strings.Contains(text, "proto ra"), err
}

// advertisement is of a default router with a prefix (RFC 4861 section 4.2), which carries the token in an option for
// experiments (RFC 4727).
func advertisement(mac net.HardwareAddr) func(token) []byte {
	return func(t token) []byte {
		const hops, type_ = 255, 134
		b := []byte{type_, 0, 0, 0, 64, 0, 7, 8, 0, 0, 0, 0, 0, 0, 0, 0} // for 1800 seconds
		b = append(b, 3, 4, 64, 0xc0, 0, 0, 0xff, 0xff, 0, 0, 0xff, 0xff, 0, 0, 0, 0)
		b = append(b, netip.MustParseAddr(advertisedPrefix+":").AsSlice()...)
		b = append(append(append(b, 253, 3), t...), make([]byte, 24-2-tokenSize)...)
		// The link-local address of the hardware's (RFC 4291 appendix A).
		from := netip.AddrFrom16([16]byte{0xfe, 0x80, 8: mac[0] ^ 2, 9: mac[1], 10: mac[2], 11: 0xff, 12: 0xfe, 13: mac[3], 14: mac[4], 15: mac[5]})
		all := netip.IPv6LinkLocalAllNodes()
		kind, packet := ip(from, all, unix.IPPROTO_ICMPV6, hops, summed(from, all, unix.IPPROTO_ICMPV6, 2, b))
		return ethernet(net.HardwareAddr{0x33, 0x33, 0, 0, 0, 1}, mac, kind, packet)
	}
}
