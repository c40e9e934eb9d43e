package lease

import (
	"encoding/hex"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/catena-cni/catena/internal/file"
	"github.com/catena-cni/catena/internal/state/name"
)

// The index answers "what does this owner hold" without reading every lease,
// and remembers what a lease file has no room for. It is one dangling symlink
// per owner, because a symlink is made whole or not at all, and because
// upstream, which opens every file beneath the folder, can open none of them:
//
//	.catena/<key> -> catena1 <boot> <dev>:<inode> <address>@<ns>,... <path>
//
//	key      a hash of containerID NUL ifname, in 32 hex digits
//	boot     /proc/sys/kernel/random/boot_id at the time of the ADD, or -
//	dev...   of the network namespace, 0:0 if unknown
//	address  every one the owner holds, with the change time of its file; the
//	         record speaks of that very file, and of none that came after it.
//	         0 if it speaks of none: upstream made the file
//	path     of the network namespace, or -
//
// Whether the index knows every lease is told by the clock of the folder
// itself: when a call of ours ends, it sets the change time of the folder and
// of .catena to a time whose nanoseconds are stampNanos. Whoever adds or
// removes a file (upstream, an operator, a call of ours that was killed)
// thereby wipes the stamp, and the next call reads all leases once and
// completes the index. No answer is believed before the lease file itself has
// confirmed it, so a wrong index costs time, never an address.
const (
	indexDir     = ".catena"
	indexTemp    = indexDir + "/new"
	indexVersion = "catena1"
	keyLen       = 32

	// stampNanos is whole microseconds, since not every file system keeps more.
	stampNanos = 271_828_000
)

// index is the part of a folder that is about the index.
type index struct {
	complete   bool              // every lease is in it, or will be at the end of the call
	changed    bool              // the stamp must be set anew
	known      map[Owner][]entry // every lease, once this call has read them all
	unreadable error             // a lease that could not be read, if any
}

// A record is what the index says of one owner.
type record struct {
	boot   string
	netns  netns
	leases []stamped
}

// stamped is an address and the time its file was written.
type stamped struct {
	addr netip.Addr
	at   int64
}

func (r record) String() string {
	leases := make([]string, len(r.leases))
	for i, l := range r.leases {
		leases[i] = l.addr.String() + "@" + strconv.FormatInt(l.at, 10)
	}
	return fmt.Sprintf("%s %s %d:%d %s %s", indexVersion, dash(r.boot), r.netns.dev, r.netns.inode,
		strings.Join(leases, ","), dash(r.netns.path))
}

func parseRecord(text string) (r record, err error) {
	fields := strings.SplitN(text, " ", 5)
	if len(fields) != 5 || fields[0] != indexVersion {
		return record{}, fmt.Errorf("%q is no record of version %s", text, indexVersion)
	}
	r.boot, r.netns.path = undash(fields[1]), undash(fields[4])
	dev, inode, _ := strings.Cut(fields[2], ":")
	var errs [2]error
	r.netns.dev, errs[0] = strconv.ParseUint(dev, 10, 64)
	r.netns.inode, errs[1] = strconv.ParseUint(inode, 10, 64)
	if err := errors.Join(errs[:]...); err != nil {
		return record{}, fmt.Errorf("network namespace %q: %w", fields[2], err)
	}
	for lease := range strings.SplitSeq(fields[3], ",") {
		text, at, _ := strings.Cut(lease, "@")
		var l stamped
		if l.addr, err = netip.ParseAddr(text); err != nil {
			return record{}, err
		}
		if l.at, err = strconv.ParseInt(at, 10, 64); err != nil {
			return record{}, err
		}
		r.leases = append(r.leases, l)
	}
	return r, nil
}

func dash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}

func undash(s string) string {
	if s == "-" {
		return ""
	}
	return s
}

// speaksOf reports whether r is about the very file that e was read from.
func (r record) speaksOf(e entry) bool {
	return e.at != 0 && slices.Contains(r.leases, stamped{e.addr, e.at})
}

func (o Owner) key() string {
	sum := name.Hash(o.ContainerID + "\x00" + o.IfName)
	return hex.EncodeToString(sum[:])[:keyLen]
}

// openIndex finds out whether the index is complete.
func (f *folder) openIndex() {
	var dir, index unix.Stat_t
	f.complete = fstat(f.dir, &dir) == nil && dir.Mtim.Nsec == stampNanos &&
		file.Again(func() error { return unix.Fstatat(f.dir, indexDir, &index, unix.AT_SYMLINK_NOFOLLOW) }) == nil && index.Mtim.Nsec == stampNanos
}

// closeIndex stamps the index if this call has changed something and knows
// it to be complete. A stamp that cannot be set is only missing.
func (f *folder) closeIndex() {
	if f.dry || f.lock < 0 || !f.complete || !f.changed {
		return
	}
	now := unix.NsecToTimespec(time.Now().Unix()*1e9 + stampNanos)
	times := []unix.Timespec{{Nsec: unix.UTIME_OMIT}, now}
	for _, path := range []string{indexDir, "."} {
		if unix.UtimesNanoAt(f.dir, path, times, unix.AT_SYMLINK_NOFOLLOW) != nil {
			return
		}
	}
}

// find returns what the owner holds. Leases that name a container and no
// interface count only when there are no others.
func (f *folder) find(owner Owner) ([]entry, error) {
	for _, o := range []Owner{owner, {ContainerID: owner.ContainerID}} {
		entries, err := f.findExact(o)
		if err != nil || len(entries) > 0 {
			return entries, err
		}
	}
	return nil, nil
}

func (f *folder) findExact(owner Owner) ([]entry, error) {
	if f.known == nil && f.complete {
		if entries, ok := f.findIndexed(owner); ok {
			return entries, nil
		}
	}
	if f.known == nil {
		if _, _, err := f.prune(nil); err != nil {
			return nil, err
		}
	}
	return f.known[owner], nil
}

// findIndexed asks a complete index, and the lease files whether it is right.
func (f *folder) findIndexed(owner Owner) ([]entry, bool) {
	rec, err := f.record(owner)
	if err != nil {
		return nil, errors.Is(err, unix.ENOENT)
	}
	var entries []entry
	for _, l := range rec.leases {
		e, err := f.read(l.addr)
		if err != nil || e.torn || e.owner != owner {
			return nil, false
		}
		entries = append(entries, e)
	}
	return entries, true
}

// record reads what the index says of an owner; nothing is os.ErrNotExist.
func (f *folder) record(owner Owner) (record, error) {
	if f.dir < 0 {
		return record{}, unix.ENOENT
	}
	buf := f.buf[:]
	n, err := readlinkat(f.dir, indexDir+"/"+owner.key(), buf)
	if err != nil {
		return record{}, err
	}
	return parseRecord(string(buf[:n]))
}

// enter makes the index say rec of an owner, or nothing if rec names no
// address. It changes at once or not at all; if not at all, the index is
// no longer known to be complete.
func (f *folder) enter(owner Owner, rec record) {
	if f.dry {
		return
	}
	f.changed = true
	if err := f.tryEnter(indexDir+"/"+owner.key(), rec); err != nil {
		f.complete = false
	}
}

func (f *folder) tryEnter(name string, rec record) error {
	if len(rec.leases) == 0 {
		return ignore(unlinkat(f.dir, name), unix.ENOENT)
	}
	text := rec.String()
	err := symlinkat(text, f.dir, name)
	if err == unix.ENOENT {
		if err := f.makeIndex(); err != nil {
			return err
		}
		err = symlinkat(text, f.dir, name)
	}
	if err != unix.EEXIST {
		return err
	}
	if err := ignore(unlinkat(f.dir, indexTemp), unix.ENOENT); err != nil {
		return err
	}
	if err := symlinkat(text, f.dir, indexTemp); err != nil {
		return err
	}
	return file.Again(func() error { return unix.Renameat(f.dir, indexTemp, f.dir, name) })
}

func (f *folder) makeIndex() error {
	return ignore(file.Again(func() error { return unix.Mkdirat(f.dir, indexDir, 0o700) }), unix.EEXIST)
}

func ignore(err, expected error) error {
	if err == expected {
		return nil
	}
	return err
}

// prune reads every lease, frees those that drop chooses (nil chooses none),
// and completes the index for the rest. It returns the rest and how many it
// freed.
func (f *folder) prune(drop func(entry) bool) (left []entry, freed int, err error) {
	entries, err := f.walk()
	if err != nil {
		return nil, 0, err
	}
	var errs []error
	for _, e := range entries {
		if drop == nil || !drop(e) {
			left = append(left, e)
		} else if err := f.free(e.addr); err != nil {
			errs = append(errs, err)
			left = append(left, e)
		} else {
			freed++
		}
	}
	f.known = make(map[Owner][]entry)
	for _, e := range left {
		if !e.torn {
			f.known[e.owner] = append(f.known[e.owner], e)
		}
	}
	if !f.complete || freed > 0 {
		f.rebuild()
	}
	return left, freed, errors.Join(errs...)
}

// rebuild makes the index say what this call has just read. It stops at the
// first entry that cannot be written: the disk is full or read-only, and the
// call goes on without an index.
func (f *folder) rebuild() {
	if f.dry {
		return
	}
	f.complete, f.changed = f.unreadable == nil && f.makeIndex() == nil, true
	keys := make(map[string]bool, len(f.known))
	for owner, entries := range f.known {
		if !f.complete {
			return
		}
		keys[owner.key()] = true
		old, err := f.record(owner)
		rec := old.about(entries)
		if err != nil || !slices.Equal(old.leases, rec.leases) {
			f.enter(owner, rec)
		}
	}
	var stale []string
	err := f.readDir(indexDir, func(name string) bool {
		if !keys[name] {
			stale = append(stale, name)
		}
		return true
	})
	f.complete = f.complete && err == nil
	for _, name := range stale {
		unlinkat(f.dir, indexDir+"/"+name)
	}
}

// about returns r for the leases its owner holds now: what r knows of each
// file it speaks of, and no more than the address of any other.
func (r record) about(entries []entry) record {
	var now record
	for _, e := range entries {
		l := stamped{addr: e.addr}
		if r.speaksOf(e) {
			l.at, now.boot, now.netns = e.at, r.boot, r.netns
		}
		now.leases = append(now.leases, l)
	}
	return now
}
