// Package unnamed is for what upstream's plugins leave on a host without the name
// of its network.
package unnamed

import (
	"encoding/json"
	"errors"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"github.com/catena-cni/catena/internal/state"
	"github.com/catena-cni/catena/internal/state/name"
)

// The folders of libcni's results, named network-container-interface, and of
// host-local's leases, one for each network.
const (
	results = "/var/lib/cni/results"
	leases  = "/var/lib/cni/networks"

	leaseMax = 4096 // bytes: a container's ID and an interface's name
)

// Elsewhere gives what tells whether a container is in another network than the
// one. The folders are read once, when it is first asked.
func Elsewhere(network string) func(container string) bool {
	kept := sync.OnceValue(func() []os.DirEntry { all, _ := os.ReadDir(results); return all })
	leased := sync.OnceValue(func() map[string]bool { return leasedElsewhere(network) })
	return func(container string) bool {
		return leased()[container] || slices.ContainsFunc(kept(), func(result os.DirEntry) bool {
			// All three parts may have a '-': which network it is of is seen by the container.
			return strings.Contains(result.Name(), "-"+container+"-") && !strings.HasPrefix(result.Name(), network+"-"+container+"-")
		})
	}
}

// leasedElsewhere are the containers with a lease of another network's.
func leasedElsewhere(network string) map[string]bool {
	all := map[string]bool{}
	files, _ := filepath.Glob(leases + "/*/*")
	for _, f := range files {
		if _, err := netip.ParseAddr(filepath.Base(f)); err != nil || filepath.Base(filepath.Dir(f)) == network {
			continue
		}
		if b, err := state.ReadFile(f, leaseMax); err == nil {
			id, _, _ := strings.Cut(string(b), "\r\n")
			all[strings.TrimSpace(id)] = true
		}
	}
	return all
}

// CollectBackups is GC for the values that upstream's tuning has saved, in files
// <containerID>_<ifname>.json that do not say whose network they are of: those of
// a container that is in another network stay.
func CollectBackups(folder state.Folder, network string, valid []name.Attachment) error {
	keys, err := folder.Keys()
	errs, isElsewhere := []error{err}, Elsewhere(network)
	for _, key := range keys {
		file, isBackup := strings.CutSuffix(key, ".json")
		if isBackup && unowned(folder, key) && !inUse(file, isElsewhere, valid) {
			errs = append(errs, folder.Remove(key))
		}
	}
	return errors.Join(errs...)
}

// unowned tells upstream's files from ours.
func unowned(folder state.Folder, key string) bool {
	var ours struct{ Owner string }
	b, err := folder.Read(key)
	return err == nil && json.Unmarshal(b, &ours) == nil && ours.Owner == ""
}

// inUse tries every way in which a container and an interface may be joined.
func inUse(file string, isElsewhere func(container string) bool, valid []name.Attachment) bool {
	for i, c := range file {
		if c != '_' {
			continue
		}
		container, ifname := file[:i], file[i+1:]
		if isElsewhere(container) || slices.ContainsFunc(valid, func(at name.Attachment) bool {
			return at.ContainerID == container && at.IfName == ifname
		}) {
			return true
		}
	}
	return false
}
