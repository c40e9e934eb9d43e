package lease

import (
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"

	"github.com/catena-cni/catena/internal/state"
)

// claim makes the lease of an address, whole or not at all, or returns fs.ErrExist.
// When it fails it has left nothing.
func (f *folder) claim(addr netip.Addr, owner Owner) (entry, error) {
	path := f.file(addr)
	if err := state.Folder(f.path).Claim(addr.String(), []byte(owner.lease())); err != nil {
		return entry{}, fmt.Errorf("create %s: %w", path, err)
	}
	f.changed = true
	st, err := os.Lstat(path)
	if err != nil {
		return entry{}, errors.Join(err, os.Remove(path))
	}
	return entry{addr, owner, st.ModTime().UnixNano()}, nil
}

// release removes leases, and what the index says of them. It goes on when one
// cannot be removed.
func (f *folder) release(leases []entry) error {
	var errs []error
	freed := make(map[string][]netip.Addr)
	for _, e := range leases {
		if err := os.Remove(f.file(e.addr)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			errs = append(errs, err)
			continue
		}
		f.changed = true
		freed[e.owner.ContainerID] = append(freed[e.owner.ContainerID], e.addr)
	}
	for container, addrs := range freed {
		rec, err := f.record(container)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		for _, addr := range addrs {
			delete(rec, addr)
		}
		f.enter(container, rec)
	}
	return errors.Join(errs...)
}
