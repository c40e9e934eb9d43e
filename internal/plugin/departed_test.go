package plugin

import (
	"testing"

	"github.com/catena-cni/catena/internal/kerneltest"
	"github.com/catena-cni/catena/internal/state/name"
)

// TestDeparted: what libcni keeps shows that a pod is gone, and a file whose name
// could be another attachment's too shows nothing of that one.
func TestDeparted(t *testing.T) {
	s := kerneltest.New(t)
	s.Run(`mkdir -p /var/lib/cni/results; cd /var/lib/cni/results
		keep() { echo '{"kind":"cniCacheV1","containerId":"'$3'","ifName":"eth0","networkName":"'$2'","netns":"'$4'"}' > $1; }
		keep a-b-c-eth0 a-b c /run/netns/gone; keep n-lives-eth0 n lives $POD; keep n-dead-eth0 n dead /run/netns/gone; echo torn > n-torn-eth0`)
	for at, want := range map[name.Attachment]bool{
		{Network: "a-b", ContainerID: "c", IfName: "eth0"}: true, {Network: "a", ContainerID: "b-c", IfName: "eth0"}: false, {Network: "n", ContainerID: "lives", IfName: "eth0"}: false, {Network: "n", ContainerID: "dead", IfName: "eth0"}: true,
		{Network: "n", ContainerID: "torn", IfName: "eth0"}: false, {Network: "n", ContainerID: "unknown", IfName: "eth0"}: false, {Network: "../results/n", ContainerID: "dead", IfName: "eth0"}: false,
	} {
		if got := departed(at); got != want {
			t.Errorf("%v: %t", at, got)
		}
	}
}
