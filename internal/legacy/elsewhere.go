package legacy

import (
	"encoding/json"
	"errors"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/catena-cni/catena/internal/name"
	"github.com/catena-cni/catena/internal/store"
)

// The folders of libcni's results, named network-container-interface, and of
// host-local's leases, one for each network.
const (
	results = "/var/lib/cni/results"
	leases  = "/var/lib/cni/networks"
)

// elsewhere reports whether a container is in another network than the one.
func elsewhere(container, network string) bool {
	entries, _ := store.Entries(results)
	for _, e := range entries {
		if strings.Contains(e.Name(), "-"+container+"-") && !strings.HasPrefix(e.Name(), network+"-"+container+"-") {
			return true
		}
	}
	networks, _ := store.Entries(leases)
	for _, n := range networks {
		if n.Name() != network && leased(filepath.Join(leases, n.Name()), container) {
			return true
		}
	}
	return false
}

// leased looks for a lease of the container in a network's folder.
func leased(dir, container string) bool {
	entries, _ := store.Entries(dir)
	return slices.ContainsFunc(entries, func(e os.DirEntry) bool {
		if _, err := netip.ParseAddr(e.Name()); err != nil || !e.Type().IsRegular() {
			return false
		}
		b, err := os.ReadFile(filepath.Join(dir, e.Name()))
		id, _, _ := strings.Cut(string(b), "\r\n")
		return err == nil && strings.TrimSpace(id) == container
	})
}

// CollectBackups is GC for the values that upstream's tuning has saved, in files
// <containerID>_<ifname>.json that do not say whose network they are of: those of
// a container that is in another network stay.
func CollectBackups(folder store.Folder, network string, valid []name.Attachment) error {
	keys, err := folder.Keys()
	errs := []error{err}
	for _, key := range keys {
		file, isBackup := strings.CutSuffix(key, ".json")
		if isBackup && unowned(folder, key) && !inUse(file, network, valid) {
			errs = append(errs, folder.Remove(key))
		}
	}
	return errors.Join(errs...)
}

// unowned tells upstream's files from ours.
func unowned(folder store.Folder, key string) bool {
	var ours struct{ Owner string }
	b, err := folder.Read(key)
	return err == nil && json.Unmarshal(b, &ours) == nil && ours.Owner == ""
}

// inUse tries every way in which a container and an interface may be joined.
func inUse(file, network string, valid []name.Attachment) bool {
	for i, c := range file {
		if c != '_' {
			continue
		}
		container, ifname := file[:i], file[i+1:]
		if elsewhere(container, network) || slices.ContainsFunc(valid, func(at name.Attachment) bool {
			return at.ContainerID == container && at.IfName == ifname
		}) {
			return true
		}
	}
	return false
}
