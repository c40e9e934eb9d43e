package integration

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/catena-cni/catena/integration/node"
)

// homeMade is a plugin as people write it on a wet afternoon: a shell script that makes a veth pair, prints a result of
// 0.4.0 without routes and dns, knows VERSION and forgets about DEL.
const homeMade = `#!/bin/sh
conf=$(cat)
case $CNI_COMMAND in
VERSION) echo '{"cniVersion":"0.4.0","supportedVersions":["0.3.0","0.3.1","0.4.0"]}' ;;
ADD)
	ip link add homemade0 type veth peer name "$CNI_IFNAME" netns "$CNI_NETNS" >&2
	ip addr add 10.66.0.1/24 dev homemade0 >&2
	ip link set homemade0 up >&2
	nsenter --net="$CNI_NETNS" ip addr add 10.66.0.2/24 dev "$CNI_IFNAME" >&2
	nsenter --net="$CNI_NETNS" ip link set "$CNI_IFNAME" up >&2
	nsenter --net="$CNI_NETNS" ip route add default via 10.66.0.1 >&2
	mac=$(nsenter --net="$CNI_NETNS" ip -br link show "$CNI_IFNAME" | awk '{print $3}')
	echo '{"cniVersion":"0.4.0","interfaces":[{"name":"'"$CNI_IFNAME"'","mac":"'"$mac"'","sandbox":"'"$CNI_NETNS"'"}],"ips":[{"version":"4","address":"10.66.0.2/24","gateway":"10.66.0.1","interface":0}]}'
	;;
esac
`

const besideHomeMade = `{"cniVersion":"0.4.0","name":"homemade","plugins":[
	{"type":"home-made"},
	{"type":"portmap","capabilities":{"portMappings":true}},
	{"type":"tuning","mtu":1400,"sysctl":{"net.core.somaxconn":"777"}}]}`

// TestBesideHomeMade chains ours behind a plugin that is a shell script.
func TestBesideHomeMade(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	must(t, os.WriteFile(filepath.Join(dir, "home-made"), []byte(homeMade), 0o755))
	n := newNode(t)
	before := text(t, n)
	list, err := node.Parse([]byte(besideHomeMade), "")
	must(t, err)
	r := n.Runtime(nil, dir, plugins)
	a := node.Attachment{Pod: newPod(t, n, "p"), List: list, IfName: "eth0", Ports: []node.Port{{HostPort: 8080, ContainerPort: 80, Protocol: "tcp"}}}
	result, err := r.Add(a)
	must(t, err)
	if got := addrs(t, result, ""); len(got) != 1 || got[0] != "10.66.0.2" || len(result.Interfaces) != 1 {
		t.Errorf("the result has become %v", result)
	}
	must(t, r.Check(a))
	_, err = n.Run("sysctl", "-q", "net.ipv4.ip_forward=1") // which a home-made plugin leaves to its owner
	must(t, err)
	serve(t, &a.Pod.Space, 80)
	seen(t, &n.Outside, "tcp", node.Addr4, 8080, node.Outside4)
	seen(t, &n.Space, "tcp", "127.0.0.1", 8080, "10.66.0.1")
	if out, err := a.Pod.Run("ip", "-o", "link", "show", "dev", "eth0"); err != nil || !strings.Contains(out, " mtu 1400 ") {
		t.Errorf("%v %s", err, out)
	}
	must(t, r.Del(a))
	if out, err := a.Pod.Run("ip", "-o", "link", "show", "dev", "eth0"); err != nil || !strings.Contains(out, " mtu 1500 ") {
		t.Errorf("after DEL: %v %s", err, out)
	}
	must(t, a.Pod.Remove())
	for _, forgotten := range []string{"ip link del homemade0", "sysctl -q net.ipv4.ip_forward=0"} {
		_, err = n.Run("sh", "-c", forgotten)
		must(t, err)
	}
	noneLeft(t, n, before)
}
