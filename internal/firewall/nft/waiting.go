package nft

import (
	"bytes"
	compare "cmp" // cmp is an expression here
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/catena-cni/catena/internal/file"
	"github.com/catena-cni/catena/internal/lists"
	"github.com/catena-cni/catena/internal/state"
	"github.com/catena-cni/catena/internal/state/name"
)

// A container in two networks, or with two interfaces in one, is given the same
// host ports for each. They lead to the attachment that was first. The record of
// the other has them as well, and a file says that it waits:
//
//	/run/catena/nft/waiting/<container>.<key>
//
// Who removes a member gives it to the first that waits, in the same batch. Those
// files change while nobody does so: who writes or removes one has the folder of
// the records locked (flock), and who looks at them shares that lock.
const waiting = state.Folder("/run/catena/nft/waiting")

func waitingKey(at name.Attachment) string { return containerKey(at) + at.Key() }

// containerKey is what the keys of a container's files begin with.
func containerKey(at name.Attachment) string {
	h := name.Hash("container\x00" + at.ContainerID)
	return hex.EncodeToString(h[:]) + "."
}

// turn is the lock as one process holds it: its descriptor plus one, and 0 where
// it holds none.
type turn struct {
	fd    int
	alone bool
}

// take waits for the lock. Where no attachment has a record there is nothing to
// lock.
func (t *turn) take(alone bool) error {
	if t.fd == 0 {
		fd, err := file.Open(string(records), unix.O_RDONLY|unix.O_DIRECTORY, 0)
		if errors.Is(err, unix.ENOENT) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("lock %s: %w", records, err)
		}
		t.fd = fd + 1
	} else if t.alone || !alone {
		return nil
	}
	how := unix.LOCK_SH
	if alone {
		how = unix.LOCK_EX
	}
	if err := file.Again(func() error { return unix.Flock(t.fd-1, how) }); err != nil {
		return fmt.Errorf("lock %s: %w", records, err)
	}
	t.alone = alone
	return nil
}

func (t *turn) leave() {
	if t.fd != 0 {
		unix.Close(t.fd - 1)
	}
	*t = turn{}
}

// queue makes an attachment one that waits. Nobody removes a member until the
// turn is over.
func (c conn) queue(at name.Attachment) error {
	if err := c.turn.take(true); err != nil {
		return err
	}
	return waiting.Replace(waitingKey(at), nil)
}

// unqueue ends it.
func (c conn) unqueue(at name.Attachment) error {
	if _, err := waiting.Read(waitingKey(at)); errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err := c.turn.take(true); err != nil {
		return err
	}
	return waiting.Remove(waitingKey(at))
}

// heirs are the records of those that wait beside an attachment, the first one
// first.
func heirs(of name.Attachment) (out []*record, err error) {
	keys, err := waiting.Keys()
	if err != nil {
		return nil, err
	}
	for _, key := range keys {
		attachment, found := strings.CutPrefix(key, containerKey(of))
		if !found || attachment == of.Key() {
			continue
		}
		if r, err := readRecord(attachment + "." + KindPorts); err == nil && !r.Abandoned() {
			out = append(out, &r)
		}
	}
	lists.Sort(out, func(a, b *record) int { return compare.Compare(a.Since, b.Since) })
	return out, nil
}

// inherit gives a member that is being removed to the first that waits for it.
func (t *table) inherit(e Element, heirs []*record) []message {
	for _, heir := range heirs {
		for _, next := range heir.Elements {
			if !next.Shared && next.Set == e.Set && bytes.Equal(next.Key, e.Key) && bytes.Equal(next.End, e.End) {
				return []message{t.elementMessage(unix.NFT_MSG_NEWSETELEM, unix.NLM_F_CREATE|unix.NLM_F_EXCL, e.Set, next.encode(heir.Owner.Comment()))}
			}
		}
	}
	return nil
}

// beside reports whether a member is of another attachment of the container.
func beside(own name.Attachment, comment string) bool {
	at, known := ownerOf(comment)
	return known && at != own && at.ContainerID == own.ContainerID
}

// ownerOf reads whose a member is. A comment that was cut is looked for among
// those of the records.
func ownerOf(comment string) (name.Attachment, bool) {
	at, err := name.Parse(comment)
	if err == nil {
		return at, true
	}
	all, _ := Attachments(KindPorts)
	for _, at := range all {
		if at.Comment() == comment {
			return at, true
		}
	}
	return name.Attachment{}, false
}
