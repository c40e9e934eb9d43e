package node

import (
	"bytes"
	"cmp"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"time"
)

// A client waits for an answer for as long as the busiest machine may take, and for what is not to come for a moment.
const (
	patience = time.Minute
	moment   = 2 * time.Second
)

// Briefly is the same space with clients that soon give up, for where no answer is the right one.
func (s *Space) Briefly() *Space {
	brief := *s
	brief.patience = moment
	return &brief
}

// Server answers every request with the address that the request came from. It serves HTTP over TCP and plain datagrams
// over UDP, on one port and both families.
type Server struct {
	http *http.Server
	tcp  []net.Listener
	udp  []*net.UDPConn
}

// Serve starts a server.
func (s *Space) Serve(port int) (srv *Server, err error) {
	err = s.Do(func() (err error) {
		srv, err = Listen(port)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("serve in %s: %w", s.Name, err)
	}
	return srv, nil
}

// Listen starts a server in the calling thread's namespaces. Each family has sockets of its own, because package net
// decides once for the whole program whether one socket can serve both, and decides wrongly if the first namespace it looks
// at has its loopback down.
func Listen(port int) (*Server, error) {
	srv := &Server{http: &http.Server{Handler: http.HandlerFunc(answer), ReadHeaderTimeout: patience}}
	for _, family := range []string{"4", "6"} {
		tcp, err := net.ListenTCP("tcp"+family, &net.TCPAddr{Port: port})
		if err != nil {
			srv.Close()
			return nil, err
		}
		srv.tcp = append(srv.tcp, tcp)
		udp, err := net.ListenUDP("udp"+family, &net.UDPAddr{Port: port})
		if err != nil {
			srv.Close()
			return nil, err
		}
		srv.udp = append(srv.udp, udp)
	}
	for _, tcp := range srv.tcp {
		go srv.http.Serve(tcp)
	}
	for _, udp := range srv.udp {
		go datagrams(udp)
	}
	return srv, nil
}

func answer(w http.ResponseWriter, r *http.Request) {
	host, _, _ := net.SplitHostPort(r.RemoteAddr)
	fmt.Fprintln(w, host)
}

func datagrams(conn *net.UDPConn) {
	buffer := make([]byte, 2048)
	for {
		_, from, err := conn.ReadFromUDPAddrPort(buffer)
		if err != nil {
			return
		}
		conn.WriteToUDPAddrPort([]byte(from.Addr().Unmap().String()), from)
	}
}

// Close ends the server.
func (srv *Server) Close() error {
	for _, tcp := range srv.tcp {
		tcp.Close()
	}
	for _, udp := range srv.udp {
		udp.Close()
	}
	return srv.http.Close()
}

func (s *Space) wait() time.Duration { return cmp.Or(s.patience, patience) }

// Ask asks a Server over "tcp" or "udp" and gives back the address that it saw the question come from.
func (s *Space) Ask(network, addr string, port int) (string, error) {
	to := net.JoinHostPort(addr, strconv.Itoa(port))
	var seen string
	err := s.Do(func() (err error) {
		switch network {
		case "tcp":
			seen, err = askTCP(to, s.wait())
		case "udp":
			seen, err = askUDP(to, s.wait())
		default:
			err = net.UnknownNetworkError(network)
		}
		return err
	})
	if err != nil {
		return "", fmt.Errorf("%s asks %s over %s: %w", s.Name, to, network, err)
	}
	return strings.TrimSpace(seen), nil
}

// Ping sends one packet and waits for its answer.
func (s *Space) Ping(addr string) error {
	to, err := netip.ParseAddr(addr)
	if err == nil {
		err = s.Do(func() error { return ping(to, s.wait()) })
	}
	if err != nil {
		return fmt.Errorf("%s pings %s: %w", s.Name, addr, err)
	}
	return nil
}

// ping needs no program, which a small machine may not have.
func ping(to netip.Addr, patience time.Duration) error {
	network, question, answer := "ip4:icmp", byte(8), byte(0)
	if to.Is6() {
		network, question, answer = "ip6:ipv6-icmp", 128, 129
	}
	conn, err := net.DialIP(network, nil, &net.IPAddr{IP: to.AsSlice(), Zone: to.Zone()})
	if err != nil {
		return err
	}
	defer conn.Close()
	packet := []byte{question, 0, 0, 0, 0, 0, 0, 1} // no data
	binary.BigEndian.PutUint16(packet[4:], uint16(pings.Add(1)))
	sum := uint32(question)<<8 + uint32(binary.BigEndian.Uint16(packet[4:])) + 1
	binary.BigEndian.PutUint16(packet[2:], ^uint16(sum+sum>>16)) // of ICMPv6 the kernel makes its own
	if err := conn.SetDeadline(time.Now().Add(patience)); err != nil {
		return err
	}
	if _, err := conn.Write(packet); err != nil {
		return err
	}
	got := make([]byte, 2048)
	for {
		n, _, err := conn.ReadFromIP(got)
		if err != nil {
			return err
		}
		if n >= len(packet) && got[0] == answer && bytes.Equal(got[4:8], packet[4:]) {
			return nil
		}
	}
}

// pings tells one's answer from another's.
var pings atomic.Uint32

// askTCP opens the connection on this thread, since the client of net/http would open it on a goroutine of its own.
func askTCP(to string, patience time.Duration) (string, error) {
	conn, err := net.DialTimeout("tcp", to, patience)
	if err != nil {
		return "", err
	}
	client := http.Client{
		Timeout: patience,
		Transport: &http.Transport{
			DisableKeepAlives: true,
			DialContext:       func(context.Context, string, string) (net.Conn, error) { return conn, nil },
		},
	}
	defer conn.Close()
	resp, err := client.Get("http://" + to + "/")
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	return string(text), err
}

// askUDP uses an unconnected socket where a connected one would refuse an answer that comes from elsewhere; such an answer
// is an error all the same, but one that says where from. It asks again, as clients of UDP do: a machine with hundreds of pods
// loses datagrams, since each pod hears every question for a neighbour.
func askUDP(to string, patience time.Duration) (string, error) {
	addr, err := net.ResolveUDPAddr("udp", to)
	if err != nil {
		return "", err
	}
	family := "udp6"
	if addr.IP.To4() != nil {
		family = "udp4"
	}
	conn, err := net.ListenUDP(family, nil)
	if err != nil {
		return "", err
	}
	defer conn.Close()
	var from *net.UDPAddr
	buffer, n := make([]byte, 2048), 0
	for until := time.Now().Add(patience); time.Now().Before(until); {
		if _, err := conn.WriteToUDP([]byte("?"), addr); err != nil {
			return "", err
		}
		if err := conn.SetReadDeadline(time.Now().Add(moment)); err != nil {
			return "", err
		}
		if n, from, err = conn.ReadFromUDP(buffer); !errors.Is(err, os.ErrDeadlineExceeded) {
			break
		}
	}
	if err != nil {
		return "", err
	}
	if !from.IP.Equal(addr.IP) || from.Port != addr.Port {
		return "", fmt.Errorf("the answer came from %s: %w", from, syscall.EPROTO)
	}
	return string(buffer[:n]), nil
}
