package main

import (
	"strings"
	"testing"

	"github.com/catena-cni/catena/internal/kerneltest"
)

// TestForeignSysfs: who comes into the host's namespace by setns alone has the
// /sys of another one before him. A bridge that takes its address from its ports
// keeps it all the same, and the one in the other namespace says nothing of it.
func TestForeignSysfs(t *testing.T) {
	t.Parallel()
	bin := kerneltest.Build(t, "plugins/main/bridge", "plugins/ipam/host-local")
	s := kerneltest.New(t)
	node := s.Pod + "-node"
	s.NewPod(node)
	s.Run(`ip link add br0 address 02:00:00:00:00:01 type bridge
		nsenter --net=` + node + ` ip link add br0 type bridge`)
	const conf = `{"cniVersion":"1.0.0","name":"n","type":"bridge","bridge":"br0","ipam":{"type":"host-local","subnet":"10.1.2.0/24"}}`
	result := s.Run(`CNI_COMMAND=ADD CNI_CONTAINERID=c1 CNI_IFNAME=eth0 CNI_NETNS=$POD CNI_PATH=` + bin + ` nsenter --net=` + node + ` ` + bin + `/bridge <<'E'
` + conf + `
E`)
	// A port with a lower address would take a bridge along that drifts.
	shown := s.Run(`nsenter --net=` + node + ` sh -c 'ip link add low0 address 00:00:00:00:00:02 type dummy 2>/dev/null || ip link add low0 address 00:00:00:00:00:02 type veth
		ip link set low0 master br0; ip -o link show br0'`)
	_, mac, _ := strings.Cut(shown, "link/ether ")
	mac, _, _ = strings.Cut(mac, " ")
	if !strings.Contains(result, `"`+mac+`"`) {
		t.Errorf("the bridge has %s now, and the result was:\n%s", mac, result)
	}
}

// TestNoSysfs: where none can be mounted, as in a user namespace that does not
// own the mounts, the bridge keeps its address too.
func TestNoSysfs(t *testing.T) {
	t.Parallel()
	bin := kerneltest.Build(t, "plugins/main/bridge")
	s := kerneltest.New(t)
	shown := s.Run(`unshare -Urn sh -ec '
		ip link add br0 type bridge; ip link add p0 address fe:00:00:00:00:01 type veth peer name p1; ip link set p0 master br0
		unshare -n sh -c "echo; exec sleep 600" > ` + t.TempDir() + `/pod & pod=$!; trap "kill $pod" EXIT
		until [ "$(readlink /proc/$pod/ns/net)" != "$(readlink /proc/self/ns/net)" ]; do :; done
		echo "{\"cniVersion\":\"1.0.0\",\"name\":\"n\",\"type\":\"bridge\",\"bridge\":\"br0\"}" |
			CNI_COMMAND=ADD CNI_CONTAINERID=c1 CNI_IFNAME=eth0 CNI_NETNS=/proc/$pod/ns/net CNI_PATH=` + bin + ` ` + bin + `/bridge
		ip link del p0; ip link add low0 address 00:00:00:00:00:02 type veth; ip link set low0 master br0
		echo; ip -o link show br0'`)
	_, mac, _ := strings.Cut(shown[strings.LastIndex(shown, "br0"):], "link/ether ")
	mac, _, _ = strings.Cut(mac, " ")
	if !strings.Contains(shown, `"`+mac+`"`) {
		t.Errorf("the bridge has %s now:\n%s", mac, shown)
	}
}
