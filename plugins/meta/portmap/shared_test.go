package main

import (
	"fmt"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/catena-cni/catena/internal/cni"
	"github.com/catena-cni/catena/internal/fact"
	"github.com/catena-cni/catena/internal/kernel"
	"github.com/catena-cni/catena/internal/kerneltest"
	"github.com/catena-cni/catena/internal/plugin"
	"github.com/catena-cni/catena/internal/plugintest"
	"github.com/catena-cni/catena/internal/state/name"
)

// twoHomes is a pod in two networks, and a client beyond the host: $CLIENT.
const twoHomes = `
	sysctl -qw net.ipv4.ip_forward=1 net.ipv4.conf.all.rp_filter=0 net.ipv4.conf.default.rp_filter=0
	for i in 1 2; do
		ip link add br$i type bridge
		ip link set br$i up
		ip addr add 10.$i.2.1/24 dev br$i
		ip link add port$i type veth peer name eth$i netns "$POD"
		ip link set port$i master br$i up
		pod ip addr add 10.$i.2.3/24 dev eth$i
		pod ip link set eth$i up
		sysctl -qw net.ipv4.conf.br$i.rp_filter=0
	done
	pod ip addr add 10.1.2.4/24 dev eth1
	pod sysctl -qw net.ipv4.conf.all.rp_filter=0 net.ipv4.conf.default.rp_filter=0 net.ipv4.conf.eth1.rp_filter=0 net.ipv4.conf.eth2.rp_filter=0
	pod ip link set lo up
	pod ip route add default via 10.1.2.1
	ip link add up0 type veth peer name up1 netns "$POD.client"
	ip link set up0 up
	ip addr add 192.0.2.2/24 dev up0
	ip addr add 192.0.2.3/24 dev up0
	sysctl -qw net.ipv4.conf.up0.rp_filter=0
	nsenter --net="$POD.client" sh -c 'ip addr add 192.0.2.9/24 dev up1; ip link set up1 up'`

// homes is the sandbox with it, and with servers in the pod that answer with
// their own address.
type homes struct {
	*kerneltest.Sandbox
	t      *testing.T
	client *kernel.Kernel
}

func newHomes(t *testing.T, ports ...int) homes {
	t.Helper()
	s := kerneltest.New(t)
	s.NewPod(s.Pod + ".client")
	s.Run(twoHomes)
	client, err := kernel.Open(s.Pod + ".client")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(client.Close)
	for _, port := range ports {
		var l net.Listener
		err := s.Kernel().Do(kernel.Pod, func() (err error) {
			l, err = net.Listen("tcp4", fmt.Sprint(":", port))
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { l.Close() })
		go func() {
			for {
				c, err := l.Accept()
				if err != nil {
					return
				}
				_, _ = io.WriteString(c, c.LocalAddr().String())
				c.Close()
			}
		}()
	}
	return homes{s, t, client}
}

// leads fails the test unless a connection of the client's comes out there;
// nowhere is "".
func (h homes) leads(what, to, where string) {
	h.t.Helper()
	got := ""
	err := h.client.Do(kernel.Pod, func() error {
		c, err := net.DialTimeout("tcp4", to, 20*time.Second)
		if err != nil {
			return err
		}
		defer c.Close()
		_ = c.SetDeadline(time.Now().Add(20 * time.Second))
		b, err := io.ReadAll(c)
		got = string(b)
		return err
	})
	if got != where || (err == nil) != (where != "") {
		h.t.Errorf("%s: %s leads to %q (%v), and %q is wanted", what, to, got, err, where)
	}
}

// nothing fails the test where something of the container's is left.
func (h homes) nothing() {
	h.t.Helper()
	h.Lacks("nft list ruleset; iptables -t nat -S", "c1/", "CNI-")
	h.Lacks("find /run/catena -name '*.*' -type f", ".")
}

// home is an attachment of a container with one address.
func home(network, id, ifname, address string) plugin.Call {
	at := attachment(network, id, address)
	at.IfName, at.Result.Interfaces[1].Name = ifname, ifname
	return at
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func backed(backend string, list ...PortMapping) Conf {
	return Conf{Backend: &backend, RuntimeConfig: mapping(list...)}
}

// TestTwoNetworks: a container's attachments are given the same host ports. They
// lead to the first, and to the next when that one goes, in any order.
func TestTwoNetworks(t *testing.T) {
	kerneltest.NeedsTime(t)
	one := PortMapping{HostPort: 8080, ContainerPort: 80}
	for _, backend := range []string{"nftables", "iptables"} {
		for what, second := range map[string]plugin.Call{
			"two networks":   home("m", "c1", "eth2", "10.2.2.3/24"),
			"two interfaces": home("n", "c1", "eth2", "10.1.2.4/24"),
			"long names":     home(strings.Repeat("m", 120), "c1", "eth2", "10.2.2.3/24"),
		} {
			t.Run(backend+" "+what, func(t *testing.T) {
				t.Parallel()
				h := newHomes(t, 80)
				first := home("n", "c1", "eth1", "10.1.2.3/24")
				if what == "long names" {
					first.Network = strings.Repeat("n", 120)
				}
				otherOne := plugintest.PlanAt(t, portmap, home("n", "c2", "eth0", "10.1.2.9/24"), backed(backend, one))
				a, b := plugintest.PlanAt(t, portmap, first, backed(backend, one)), plugintest.PlanAt(t, portmap, second, backed(backend, one))
				to := func(call plugin.Call) string { return call.Result.IPs[0].Address.IP.String() + ":80" }
				for _, order := range []struct {
					dels  [2]fact.Plan
					stays fact.Plan
					leads string
				}{{[2]fact.Plan{a, b}, b, to(second)}, {[2]fact.Plan{b, a}, a, to(first)}} {
					k := h.Kernel()
					must(t, a.Add(k))
					if err := b.Check(k); err == nil {
						t.Error("CHECK of one that was never added finds nothing")
					}
					must(t, b.Add(k))
					h.leads("both there", "192.0.2.2:8080", to(first))
					for _, p := range []fact.Plan{a, b} {
						must(t, p.Check(k))
					}
					if err := otherOne.Add(k); err == nil || !strings.Contains(err.Error(), "is held by") {
						t.Errorf("another container: %v", err)
					}
					if backend == "nftables" {
						h.Run("nft flush ruleset")
						must(t, b.Check(k))
						h.leads("after a reload", "192.0.2.2:8080", to(first))
					}
					for range 2 {
						must(t, order.dels[0].Del(k))
						h.leads("one is gone", "192.0.2.2:8080", order.leads)
						must(t, order.stays.Check(k))
						if err := otherOne.Add(k); err == nil || !strings.Contains(err.Error(), "is held by") {
							t.Errorf("another container: %v", err)
						}
					}
					must(t, order.dels[1].Del(k))
					h.leads("both are gone", "192.0.2.2:8080", "")
					h.nothing()
				}
			})
		}
	}
}

// TestLawsBeside: the laws hold for an attachment whose ports another one of its
// container has.
func TestLawsBeside(t *testing.T) {
	kerneltest.NeedsTime(t)
	c := full()
	c.RuntimeConfig.PortMappings = append(c.RuntimeConfig.PortMappings, shifted(20, 20000, 20000)...)
	kerneltest.Prove(t, kerneltest.Case{
		Plan:  plugintest.PlanAt(t, portmap, attachment("n", "c1", dual...), c),
		Other: plugintest.PlanAt(t, portmap, home("n", "c1", "eth8", "10.1.2.9/24"), c),
		Setup: func(s *kerneltest.Sandbox) {
			bridged(s)
			first := plugintest.PlanAt(t, portmap, attachment("m", "c1", "10.1.2.9/24", "fd00:1:2::9/64"), c)
			must(t, first.Add(s.Kernel()))
		},
		Undo: []kerneltest.Undo{
			{Fact: `^nft  restore`},
			{Fact: `^nft  ports`, Command: "nft delete element inet catena hostports4 { 8080 . tcp }"},
			{Fact: `^nft  localnet`, Command: "nft delete element inet catena localnet { br0 }"},
			{Fact: `^sysctl host`, Command: "sysctl -q net.ipv4.conf.br0.route_localnet=0"},
			{Fact: `^forget`, Command: ""},
		},
	})
}

// TestSharedShapes: whatever the two attachments' lists have in common leads to
// the first, the rest to each, and all of it to the one that is left.
func TestSharedShapes(t *testing.T) {
	kerneltest.NeedsTime(t)
	for what, c := range map[string]struct {
		first, second       []PortMapping
		both, firstA, lastB []int // host ports that both have, and those of one alone
	}{
		"the same row":       {shifted(20, 8000, 8000), shifted(20, 8000, 8000), []int{8000, 8019}, nil, nil},
		"a row crosswise":    {shifted(20, 8000, 8000), shifted(20, 8010, 8010), []int{8010, 8019}, []int{8000}, []int{8020, 8029}},
		"a row crosswise up": {shifted(20, 8010, 8010), shifted(20, 8000, 8000), []int{8010, 8019}, []int{8029}, []int{8000, 8009}},
		"a row around":       {shifted(20, 8005, 8005), shifted(40, 8000, 8000), []int{8005, 8024}, nil, []int{8000, 8039}},
		"a row around one":   {shifted(1, 8005, 8005), shifted(40, 8000, 8000), []int{8005}, nil, []int{8004, 8006}},
		"one in a row":       {shifted(40, 8000, 8000), shifted(1, 8005, 8005), []int{8005}, []int{8004}, nil},
		"many":               {shifted(300, 8000, 7000), shifted(300, 8000, 7000), []int{8000, 8299}, nil, nil},
	} {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			if len(c.first) > 100 {
				kerneltest.NeedsRoot(t, manyPorts)
			}
			h := newHomes(t, 8000, 8004, 8005, 8006, 8009, 8010, 8019, 8020, 8024, 8029, 8039, 7000, 7299)
			a := plugintest.PlanAt(t, portmap, home("n", "c1", "eth1", "10.1.2.3/24"), Conf{RuntimeConfig: mapping(c.first...)})
			b := plugintest.PlanAt(t, portmap, home("m", "c1", "eth2", "10.2.2.3/24"), Conf{RuntimeConfig: mapping(c.second...)})
			k := h.Kernel()
			at := func(what, pod string, ports ...int) {
				t.Helper()
				for _, p := range ports {
					inPod := p
					if what == "many" || c.first[0].ContainerPort == 7000 {
						inPod -= 1000
					}
					where := ""
					if pod != "" {
						where = fmt.Sprintf("%s:%d", pod, inPod)
					}
					h.leads(what, fmt.Sprint("192.0.2.2:", p), where)
				}
			}
			for _, firstGoes := range []bool{true, false} {
				must(t, a.Add(k))
				must(t, b.Add(k))
				must(t, a.Check(k))
				must(t, b.Check(k))
				at("both there", "10.1.2.3", append(c.both, c.firstA...)...)
				at("both there", "10.2.2.3", c.lastB...)
				h.Run("nft flush ruleset")
				must(t, b.Check(k))
				at("after a reload", "10.1.2.3", append(c.both, c.firstA...)...)
				at("after a reload", "10.2.2.3", c.lastB...)
				if firstGoes {
					must(t, a.Del(k))
					must(t, b.Check(k))
					at("the first is gone", "10.2.2.3", append(c.both, c.lastB...)...)
					at("the first is gone", "", c.firstA...)
					must(t, b.Del(k))
				} else {
					must(t, b.Del(k))
					must(t, a.Check(k))
					at("the second is gone", "10.1.2.3", append(c.both, c.firstA...)...)
					at("the second is gone", "", c.lastB...)
					must(t, a.Del(k))
				}
				h.nothing()
			}
		})
	}
}

// TestSharedByThree: GC, and the end of a namespace, pass the ports on as DEL does.
func TestSharedByThree(t *testing.T) {
	h := newHomes(t, 80)
	k := h.Kernel()
	var all []fact.Plan
	for _, at := range []plugin.Call{home("n", "c1", "eth1", "10.1.2.3/24"), home("m", "c1", "eth2", "10.2.2.3/24"), home("l", "c1", "eth3", "10.1.2.4/24")} {
		all = append(all, plugintest.PlanAt(t, portmap, at, Conf{RuntimeConfig: mapping(PortMapping{HostPort: 8080, ContainerPort: 80})}))
		must(t, all[len(all)-1].Add(k))
	}
	for i, want := range []string{"10.1.2.3:80", "10.2.2.3:80", "10.1.2.4:80", ""} {
		h.leads(fmt.Sprint(i, " are gone"), "192.0.2.2:8080", want)
		if i == 0 { // what no record speaks of
			h.Run("rm /run/catena/nft/" + (name.Attachment{Network: "n", ContainerID: "c1", IfName: "eth1"}).Key() + ".ports")
			must(t, portmap.Collect(k, plugin.GC{Network: "n"}, Conf{}))
		} else if i < len(all) {
			must(t, all[i].Del(k))
		}
	}
	must(t, portmap.Want(home("n", "c1", "eth1", "10.1.2.3/24"), Conf{}).Del(k)) // its other records
	h.nothing()
}

// TestSharedWithTheDead: an attachment whose namespace is gone for good gives way
// to another of its container, and to no one of it that is gone too.
func TestSharedWithTheDead(t *testing.T) {
	h := newHomes(t, 80)
	one := Conf{RuntimeConfig: mapping(PortMapping{HostPort: 8080, ContainerPort: 80})}
	a := plugintest.PlanAt(t, portmap, home("n", "c1", "eth1", "10.1.2.9/24"), one)
	b := plugintest.PlanAt(t, portmap, home("m", "c1", "eth2", "10.2.2.9/24"), one)
	h.NewPod(h.Pod + ".dead")
	dead, err := kernel.Open(h.Pod + ".dead")
	must(t, err)
	must(t, a.Add(dead))
	must(t, b.Add(dead))
	dead.Close()
	h.Run(`umount -l "$POD.dead"; rm "$POD.dead"`)
	c := plugintest.PlanAt(t, portmap, home("l", "c1", "eth3", "10.1.2.3/24"), one)
	must(t, c.Add(h.Kernel()))
	h.leads("the others are dead", "192.0.2.2:8080", "10.1.2.3:80")
	for _, p := range []fact.Plan{a, b} {
		must(t, p.Del(h.Kernel()))
	}
	h.leads("the dead are gone", "192.0.2.2:8080", "10.1.2.3:80")
	must(t, c.Check(h.Kernel()))
	must(t, c.Del(h.Kernel()))
	h.nothing()
}

// TestSharedRaces: whatever comes and goes at the same time, the port leads to
// the one that is left, and to nobody in the end.
func TestSharedRaces(t *testing.T) {
	kerneltest.NeedsTime(t)
	bin := kerneltest.Build(t, "plugins/meta/portmap")
	h := newHomes(t, 80)
	call := func(verb, network, ifname, address string) kerneltest.Call {
		return kerneltest.Call{Bin: bin, Plugin: "portmap", Verb: verb, IfName: ifname, Conf: fmt.Sprintf(`{"cniVersion":"1.1.0","name":%q,"type":"portmap",
			"runtimeConfig":{"portMappings":[{"hostPort":8080,"containerPort":80}]},
			"prevResult":{"cniVersion":"1.1.0","interfaces":[{"name":%q,"sandbox":"/x"}],"ips":[{"interface":0,"address":%q}]}}`, network, ifname, address)}
	}
	a := func(verb string) kerneltest.Call { return call(verb, "n", "eth1", "10.1.2.3/24") }
	b := func(verb string) kerneltest.Call { return call(verb, "m", "eth2", "10.2.2.3/24") }
	c := func(verb string) kerneltest.Call { return call(verb, "l", "eth3", "10.1.2.4/24") }
	for i := range 15 {
		h.Together(a("ADD"), b("ADD"))
		h.Together(a("CHECK"), b("CHECK"))
		h.Together(a("DEL"), c("ADD"))
		h.Together(b("CHECK"), c("CHECK"))
		h.Together(b("DEL"), a("ADD"))
		h.Must(a("CHECK"))
		h.Must(c("CHECK"))
		if i%2 == 0 {
			h.Must(c("DEL"))
			h.leads("one is left", "192.0.2.2:8080", "10.1.2.3:80")
			h.Must(a("DEL"))
		} else {
			h.Together(a("DEL"), c("DEL"))
		}
		h.leads("none is left", "192.0.2.2:8080", "")
		h.nothing()
	}
}

// TestParticular: of one pod's mappings of a port that for an address comes
// before that for all, in either order and many at a time.
func TestParticular(t *testing.T) {
	kerneltest.NeedsTime(t)
	for _, backend := range []string{"nftables", "iptables"} {
		for what, c := range map[string]struct {
			list  []PortMapping
			words Conditions
		}{
			"wide first":       {list: []PortMapping{{HostPort: 8000, ContainerPort: 80}, {HostPort: 8000, ContainerPort: 81, HostIP: "192.0.2.3"}}},
			"wide last":        {list: []PortMapping{{HostPort: 8000, ContainerPort: 81, HostIP: "192.0.2.3"}, {HostPort: 8000, ContainerPort: 80, HostIP: "0.0.0.0"}}},
			"a row, wide":      {list: append(shifted(20, 8000, 8000), PortMapping{HostPort: 8000, ContainerPort: 81, HostIP: "192.0.2.3"})},
			"a row, narrow":    {list: append(at("192.0.2.3", shifted(20, 8000, 8000)), PortMapping{HostPort: 8000, ContainerPort: 80})},
			"under conditions": {[]PortMapping{{HostPort: 8000, ContainerPort: 80}, {HostPort: 8000, ContainerPort: 81, HostIP: "192.0.2.3"}}, Conditions{"-s", "192.0.2.0/24"}},
		} {
			t.Run(backend+" "+what, func(t *testing.T) {
				t.Parallel()
				h := newHomes(t, 80, 81, 8000)
				conf := backed(backend, c.list...)
				conf.ConditionsV4 = c.words
				p := plugintest.PlanAt(t, portmap, home("n", "c1", "eth1", "10.1.2.3/24"), conf)
				must(t, p.Add(h.Kernel()))
				must(t, p.Check(h.Kernel()))
				wide, narrow := "10.1.2.3:80", "10.1.2.3:81"
				switch what {
				case "a row, wide":
					wide = "10.1.2.3:8000"
				case "a row, narrow":
					narrow = "10.1.2.3:8000"
				}
				h.leads("the address", "192.0.2.3:8000", narrow)
				h.leads("another", "192.0.2.2:8000", wide)
				must(t, p.Del(h.Kernel()))
				h.leads("after DEL", "192.0.2.3:8000", "")
				h.leads("after DEL", "192.0.2.2:8000", "")
			})
		}
	}
}

// TestNotOnes: two lists of one pod for the same place are an error as before.
func TestNotOnes(t *testing.T) {
	c := Conf{RuntimeConfig: mapping(PortMapping{HostPort: 80, ContainerPort: 80, Protocol: "tcp", HostIP: "192.0.2.3"}, PortMapping{HostPort: 80, ContainerPort: 81, Protocol: "tcp", HostIP: "192.0.2.3"})}
	must(t, validate(&plugin.Call{}, &c))
	err := complete(home("n", "c1", "eth1", "10.1.2.3/24"), c)
	if err == nil || !strings.Contains(err.Error(), "a host port leads to one port") {
		t.Errorf("code %d: %v", cni.AsError(err).Code, err)
	}
}
