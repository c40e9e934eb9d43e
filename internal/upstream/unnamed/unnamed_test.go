package unnamed

import (
	"os"
	"strings"
	"testing"

	"github.com/catena-cni/catena/internal/kerneltest"
	"github.com/catena-cni/catena/internal/state"
	"github.com/catena-cni/catena/internal/state/name"
)

func TestMain(m *testing.M) { kerneltest.Main(m) }

// TestCollectBackups: a backup of a container that is valid, or elsewhere, stays.
func TestCollectBackups(t *testing.T) {
	t.Parallel()
	s := kerneltest.New(t)
	s.Run(`mkdir -p /run/cni/tuning /var/lib/cni/results
		for f in valid_eth0 stale_eth0 a_b_eth0 cached_eth1; do echo '{"mtu":1500}' >/run/cni/tuning/$f.json; done
		echo '{"owner":"n/ours/eth0"}' >/run/cni/tuning/ours_eth0.json
		touch /var/lib/cni/results/other-cached-eth1`)
	if err := CollectBackups(state.Folder("/run/cni/tuning"), "n", []name.Attachment{{Network: "n", ContainerID: "valid", IfName: "eth0"}, {Network: "n", ContainerID: "a_b", IfName: "eth0"}}); err != nil {
		t.Fatal(err)
	}
	entries, err := os.ReadDir("/run/cni/tuning")
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	if got := strings.Join(names, " "); err != nil || got != "a_b_eth0.json cached_eth1.json ours_eth0.json valid_eth0.json" {
		t.Errorf("%v: %s", err, got)
	}
}
