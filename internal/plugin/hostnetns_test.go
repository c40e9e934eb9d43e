package plugin_test

import (
	"path/filepath"
	"strings"
	"testing"

	"github.com/catena-cni/catena/internal/kerneltest"
)

// everyPlugin is a configuration of each plugin without a version, a name and a
// type, by its folder.
var everyPlugin = map[string]string{
	"plugins/ipam/dhcp":        `"ipam":{"type":"dhcp","daemonSocketPath":"/run/none.sock"}`,
	"plugins/ipam/host-local":  `"ipam":{"type":"host-local","subnet":"10.9.0.0/24"}`,
	"plugins/ipam/static":      `"ipam":{"type":"static","addresses":[{"address":"10.9.0.2/24"}]}`,
	"plugins/main/bridge":      `"isGateway":true,"ipMasq":true,"macspoofchk":true,"ipam":{"type":"host-local","subnet":"10.9.0.0/24"}`,
	"plugins/main/dummy":       `"ipam":{"type":"host-local","subnet":"10.9.0.0/24"}`,
	"plugins/main/host-device": `"device":"eth1","ipam":{"type":"host-local","subnet":"10.9.0.0/24"}`,
	"plugins/main/ipvlan":      `"master":"up0","ipam":{"type":"host-local","subnet":"10.9.0.0/24"}`,
	"plugins/main/macvlan":     `"master":"up0","ipam":{"type":"host-local","subnet":"10.9.0.0/24"}`,
	"plugins/main/ptp":         `"ipMasq":true,"ipam":{"type":"host-local","subnet":"10.9.0.0/24"}`,
	"plugins/main/tap":         `"ipam":{"type":"host-local","subnet":"10.9.0.0/24"}`,
	"plugins/main/vlan":        `"master":"up0","vlanId":5,"ipam":{"type":"host-local","subnet":"10.9.0.0/24"}`,
	"plugins/meta/bandwidth":   `"ingressRate":1000000,"egressRate":1000000`,
	"plugins/meta/firewall":    `"ingressPolicy":"open"`,
	"plugins/meta/flannel":     `"subnetFile":"/run/flannel/subnet.env"`,
	"plugins/meta/loopback":    ``,
	"plugins/meta/portmap":     `"runtimeConfig":{"portMappings":[{"hostPort":8080,"containerPort":80}]}`,
	"plugins/meta/sbr":         ``,
	"plugins/meta/tuning":      `"mtu":1400,"promisc":true,"sysctl":{"net.ipv4.conf.IFNAME.arp_filter":"1"}`,
	"plugins/meta/vrf":         `"vrfname":"blue"`,
}

// whole is a plugin's configuration with a prevResult of the pod at netns.
func whole(folder, keys, netns string) string {
	c := `{"cniVersion":"1.0.0","name":"n","type":"` + filepath.Base(folder) + `","prevResult":{"cniVersion":"1.0.0",` +
		`"interfaces":[{"name":"eth0","mac":"02:00:00:00:00:99","sandbox":"` + netns + `"}],"ips":[{"address":"10.9.0.2/24","interface":0}]}`
	if keys != "" {
		c += "," + keys
	}
	return c + "}"
}

// hostsOwn are links of the host with the names that pods' have, in use.
const hostsOwn = kerneltest.Segment + `
	ip link add eth0 address 02:00:00:00:00:99 type veth peer name other; ip link set eth0 alias eth1; ip link set other up; ip link set eth0 up mtu 1300
	ip addr add 10.9.0.2/24 dev eth0; ip route add default via 10.9.0.1; ip rule add from 10.9.0.2 table 100
	echo 1 > /proc/sys/net/ipv4/conf/eth0/arp_filter`

// Carriers come when the kernel gets round to them.
const hostsSettings = `ip -d -o link | sed 's/NO-CARRIER,//; s/,M-DOWN//; s/state [A-Z]*//'; cat /proc/sys/net/ipv4/conf/eth0/arp_filter; ip rule; tc qdisc`

// TestDelInTheHostsNamespace: a DEL whose namespace is the host's own is of one
// that is gone. It touches nothing there and succeeds, and ADD and CHECK refuse.
func TestDelInTheHostsNamespace(t *testing.T) {
	for folder, keys := range everyPlugin {
		t.Run(filepath.Base(folder), func(t *testing.T) {
			t.Parallel()
			bin := kerneltest.Build(t, "plugins/ipam/host-local", "plugins/main/bridge", folder)
			s := kerneltest.New(t)
			s.Run(hostsOwn)
			const own = "/proc/self/ns/net"
			c := kerneltest.Call{Bin: bin, Plugin: filepath.Base(folder), Verb: "DEL", Netns: own, Conf: whole(folder, keys, own)}
			text, settings := s.Text(), s.Run(hostsSettings)
			s.Must(c)
			s.Must(c)
			c.Conf = strings.Replace(c.Conf, `"prevResult"`, `"-"`, 1)
			s.Must(c)
			s.Same("DEL", text, s.Text())
			s.Same("DEL", settings, s.Run(hostsSettings))
			for _, verb := range []string{"ADD", "CHECK"} {
				c.Verb, c.Conf = verb, whole(folder, keys, own)
				s.Refuses(c, 8, own, "the plugin itself runs in")
			}
		})
	}
}

// TestDelInTheHostsNamespaceReleases: what the host has of the pod goes.
func TestDelInTheHostsNamespaceReleases(t *testing.T) {
	chain := []string{"plugins/main/bridge", "plugins/meta/firewall", "plugins/meta/portmap", "plugins/meta/bandwidth", "plugins/meta/tuning"}
	bin := kerneltest.Build(t, append(chain, "plugins/ipam/host-local")...)
	s := kerneltest.New(t)
	s.Run(strings.ReplaceAll(hostsOwn, "10.9.", "10.8."))
	result, before := "", ""
	conf := func(folder string) string {
		c := whole(folder, everyPlugin[folder], s.Pod)
		if i, j := strings.Index(c, `"prevResult":`), strings.Index(c, `]},`); result != "" {
			c = c[:i] + `"prevResult":` + result + c[j+2:]
		}
		return strings.Replace(c, `,"egressRate":1000000`, ``, 1)
	}
	for _, pod := range []string{"first", "c1"} { // the first leaves what all share
		result = ""
		for _, folder := range chain {
			result = s.Must(kerneltest.Call{Bin: bin, Plugin: filepath.Base(folder), ContainerID: pod, Conf: conf(folder)}).Stdout
		}
		if pod == "first" {
			for i := len(chain) - 1; i >= 0; i-- {
				s.Must(kerneltest.Call{Bin: bin, Verb: "DEL", Plugin: filepath.Base(chain[i]), ContainerID: pod, Conf: conf(chain[i])})
			}
			before = s.HostText()
		}
	}
	if s.HostText() == before {
		t.Fatal("ADD leaves nothing on the host that could go")
	}
	for i := len(chain) - 1; i >= 0; i-- {
		s.Must(kerneltest.Call{Bin: bin, Verb: "DEL", Plugin: filepath.Base(chain[i]), Netns: "/proc/self/ns/net", Conf: conf(chain[i])})
	}
	s.Same("DEL", before, s.HostText())
}

// TestDelInOneNamespaceOnPurpose: CNI_NETNS_OVERRIDE says that the pod lives in
// the plugin's own namespace.
func TestDelInOneNamespaceOnPurpose(t *testing.T) {
	kerneltest.Needs(t, "tun")
	bin := kerneltest.Build(t, "plugins/main/tap")
	s := kerneltest.New(t)
	call := `echo '{"cniVersion":"1.0.0","name":"n","type":"tap"}' | env -i CNI_NETNS_OVERRIDE=1 CNI_CONTAINERID=c1 CNI_IFNAME=tap0 CNI_NETNS=/proc/self/ns/net CNI_COMMAND=`
	s.Run(call + "ADD " + bin + "/tap")
	s.Has("ip link", "tap0")
	s.Run(call + "DEL " + bin + "/tap")
	s.Lacks("ip link", "tap0")
}
