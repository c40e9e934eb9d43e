package lease

import (
	"errors"
	"fmt"
	"net/netip"

	"golang.org/x/sys/unix"

	"github.com/catena-cni/catena/internal/file"
)

// claim makes the lease of an address, or returns os.ErrExist. When it fails
// it has left nothing.
func (f *folder) claim(addr netip.Addr, owner Owner) (entry, error) {
	if f.dry {
		return entry{addr: addr, owner: owner}, f.claimDry(addr)
	}
	at, err := f.claimWhole(addr.String(), owner.lease())
	if errors.Is(err, errors.ErrUnsupported) {
		at, err = f.claimNamed(addr, owner.lease())
	}
	if err != nil {
		return entry{}, fmt.Errorf("create %s: %w", f.file(addr), err)
	}
	f.changed = true
	return entry{addr: addr, owner: owner, at: at}, nil
}

// claimWhole makes a file in a way that leaves nothing when it is killed: the
// file gets its name when it is written. Until a name is free for it, it is
// the call's draft. Not every file system has files without a name.
func (f *folder) claimWhole(name, text string) (at int64, err error) {
	if f.draft < 0 {
		if f.draft, err = openat(f.dir, ".", unix.O_WRONLY|unix.O_TMPFILE); err != nil {
			f.draft = -1
			if err == unix.EISDIR { // a kernel or file system that does not know the flag
				err = unix.EOPNOTSUPP
			}
			return 0, err
		}
		if err := writeAll(f.draft, text); err != nil {
			f.discard()
			return 0, err
		}
	}
	var st unix.Stat_t
	if err := fstat(f.draft, &st); err != nil {
		return 0, err
	}
	err = file.Again(func() error {
		return unix.Linkat(unix.AT_FDCWD, fmt.Sprint("/proc/self/fd/", f.draft), f.dir, name, unix.AT_SYMLINK_FOLLOW)
	})
	if err == nil {
		f.discard()
	}
	if err == unix.ENOENT { // there is no /proc here
		err = unix.EOPNOTSUPP
	}
	return st.Mtim.Nano(), err
}

// discard closes the draft, which is gone if it has no name.
func (f *folder) discard() {
	if f.draft >= 0 {
		unix.Close(f.draft)
		f.draft = -1
	}
}

// claimNamed makes a file that has its name before it has its text.
func (f *folder) claimNamed(addr netip.Addr, text string) (at int64, err error) {
	fd, err := openat(f.dir, addr.String(), unix.O_WRONLY|unix.O_CREAT|unix.O_EXCL)
	if err != nil {
		return 0, err
	}
	var st unix.Stat_t
	err = writeAll(fd, text)
	if err == nil {
		err = fstat(fd, &st)
	}
	// A file system over the network may say only here that it is full.
	if closed := unix.Close(fd); err == nil {
		err = closed
	}
	if err != nil {
		return 0, errors.Join(err, f.free(addr))
	}
	return st.Mtim.Nano(), nil
}

func (f *folder) isFree(addr netip.Addr) bool { return f.claimDry(addr) == nil }

func (f *folder) claimDry(addr netip.Addr) error {
	if f.dir < 0 || f.freed[addr] {
		return nil
	}
	var st unix.Stat_t
	err := file.Again(func() error { return unix.Fstatat(f.dir, addr.String(), &st, unix.AT_SYMLINK_NOFOLLOW) })
	switch err {
	case unix.ENOENT:
		return nil
	case nil:
		err = unix.EEXIST
	}
	return fmt.Errorf("create %s: %w", f.file(addr), err)
}

// free removes the lease of an address, whoever holds it.
func (f *folder) free(addr netip.Addr) error {
	if f.dry {
		if f.freed == nil {
			f.freed = make(map[netip.Addr]bool)
		}
		f.freed[addr] = true
		return nil
	}
	if err := unlinkat(f.dir, addr.String()); err != nil && err != unix.ENOENT {
		return fmt.Errorf("remove %s: %w", f.file(addr), err)
	}
	f.changed = true
	return nil
}
