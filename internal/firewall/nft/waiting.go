package nft

import (
	"bytes"
	"cmp"
	"errors"
	"io/fs"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/catena-cni/catena/internal/firewall/nft/wire"
	"github.com/catena-cni/catena/internal/state"
	"github.com/catena-cni/catena/internal/state/name"
)

// A container in two networks, or with two interfaces in one, is given the same
// host ports for each. They lead to the attachment that was first. The record of
// the other has them as well, and a file says that it waits:
//
//	/run/catena/nft/waiting/<container>.<key>
//
// Who removes a member gives it to the first that waits, in the same batch, which
// is for the generation of the ruleset that it has looked at: who writes or
// removes one of those files makes a new one.
const waitingFolder = state.Folder("/run/catena/nft/waiting")

func waitingKey(at name.Attachment) string { return containerKey(at) + at.Key() }

// containerKey is what the keys of a container's files begin with.
func containerKey(at name.Attachment) string {
	return name.Digits("container\x00"+at.ContainerID) + "."
}

// queue makes an attachment one that waits.
func (c conn) queue(at name.Attachment) error {
	if err := waitingFolder.Replace(waitingKey(at), nil); err != nil {
		return err
	}
	return c.newGeneration()
}

// unqueue ends it.
func (c conn) unqueue(at name.Attachment) error {
	if _, err := waitingFolder.Read(waitingKey(at)); errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err := waitingFolder.Remove(waitingKey(at)); err != nil {
		return err
	}
	return c.newGeneration()
}

// newGeneration changes the ruleset for nothing else. Where there is no table
// nobody removes members.
func (c conn) newGeneration() error {
	e := wire.Element{Set: layout.Name, Key: wire.Native(2)}
	err := c.Commit([]wire.Message{inet.Add(e, ""), inet.Delete(e)}, 0)
	if errors.Is(err, unix.ENOENT) {
		return nil
	}
	return err
}

// waitingBeside are the records of those that wait beside an attachment, the
// first one first.
func waitingBeside(at name.Attachment) (out []record, err error) {
	keys, err := waitingFolder.Keys()
	if err != nil {
		return nil, err
	}
	if !slices.ContainsFunc(keys, func(key string) bool { return strings.HasPrefix(key, containerKey(at)) }) {
		return nil, nil
	}
	all, _, err := records(KindPorts).All()
	for _, r := range all {
		if r.Owner != at && slices.Contains(keys, waitingKey(r.Owner)) && r.Owner.ContainerID == at.ContainerID && !r.Abandoned() {
			out = append(out, r)
		}
	}
	slices.SortFunc(out, func(a, b record) int { return cmp.Compare(a.Since, b.Since) })
	return out, err
}

// passOn gives a member that is being removed to the first that waits for it.
func (t *table) passOn(e Element, waiting []record) []wire.Message {
	for _, r := range waiting {
		for _, next := range r.Elements {
			if !next.Shared && next.Set == e.Set && bytes.Equal(next.Key, e.Key) {
				return []wire.Message{t.Create(next.Element, r.Owner.Comment())}
			}
		}
	}
	return nil
}

// ofSameContainer reports whether a member is of another attachment of the
// container.
func ofSameContainer(own name.Attachment, comment string) bool {
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
