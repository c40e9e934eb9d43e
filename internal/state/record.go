package state

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"path"

	"github.com/catena-cni/catena/internal/state/name"
)

// Record is what is kept of an attachment in a file: it says whose it is, and
// whether the pod that it was written for is provably gone.
type Record interface {
	Of() name.Attachment
	Abandoned() bool
}

// Records are the records of one kind in a folder: a JSON object in a file for
// each attachment. A file that is damaged, or has another attachment's record,
// speaks for nobody.
type Records[T Record] struct {
	Folder Folder
	// Suffix is what the files' names end with, from their last dot on, where there
	// are several kinds in the folder.
	Suffix string
	// Key names the files in the place of the attachment's key, where another
	// program's have that name too.
	Key func(name.Attachment) string
}

func (r Records[T]) key(at name.Attachment) string {
	if r.Key != nil {
		return r.Key(at) + r.Suffix
	}
	return at.Key() + r.Suffix
}

// Claim writes the record of an attachment that has none: else it is
// fs.ErrExist.
func (r Records[T]) Claim(record T) error { return r.write(r.Folder.Claim, record) }

// ClaimOver is Claim, but for a record that is there and gives way: what it speaks
// of is taken away, or its error says that it does not. A damaged one speaks for
// nobody.
func (r Records[T]) ClaimOver(record T, giveWay func(before T) error) error {
	err := r.Claim(record)
	if !errors.Is(err, fs.ErrExist) {
		return err
	}
	before, found, err := r.Find(record.Of())
	if found {
		err = giveWay(before)
	}
	if err != nil {
		return err
	}
	return r.Replace(record)
}

// Replace writes a record, in place of the one that may be there.
func (r Records[T]) Replace(record T) error { return r.write(r.Folder.Replace, record) }

func (r Records[T]) write(write func(string, []byte) error, record T) error {
	content, err := json.MarshalIndent(record, "", "  ")
	if err == nil {
		err = write(r.key(record.Of()), append(content, '\n'))
	}
	if err != nil {
		return fmt.Errorf("record of %s: %w", record.Of(), err)
	}
	return nil
}

// Read gives the record of an attachment. The error is fs.ErrNotExist where there
// is none.
func (r Records[T]) Read(at name.Attachment) (T, error) { return r.read(r.key(at)) }

// Find is Read where there may be no record, or one that is damaged and speaks for
// nobody. The error is that it could not be looked at.
func (r Records[T]) Find(at name.Attachment) (record T, found bool, err error) {
	record, err = r.Read(at)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, ErrDamaged) {
		return record, false, nil
	}
	return record, err == nil, err
}

// Lift is Read for a DEL, which a damaged record is not to stop for ever: that is
// set aside, and the error is ErrDamaged.
func (r Records[T]) Lift(at name.Attachment) (T, error) {
	record, err := r.Read(at)
	if errors.Is(err, ErrDamaged) {
		err = r.Folder.SetAside(r.key(at), err)
	}
	return record, err
}

func (r Records[T]) read(key string) (record T, err error) {
	content, err := r.Folder.Read(key)
	if err != nil {
		return record, err
	}
	if err := json.Unmarshal(content, &record); err != nil {
		return record, fmt.Errorf("%s/%s: %w: %w", r.Folder, key, ErrDamaged, err)
	}
	if r.key(record.Of()) != key {
		return record, fmt.Errorf("%s/%s: %w", r.Folder, key, ErrDamaged)
	}
	return record, nil
}

// Has reports whether an attachment has a file, damaged or not.
func (r Records[T]) Has(at name.Attachment) bool {
	_, err := r.Read(at)
	return !errors.Is(err, fs.ErrNotExist)
}

// Remove removes the record of an attachment. None is success.
func (r Records[T]) Remove(at name.Attachment) error { return r.Folder.Remove(r.key(at)) }

// All reads every record, for what looks at a whole node, such as GC. The damaged
// are why files were left out.
func (r Records[T]) All() (all []T, damaged, err error) {
	keys, err := r.Folder.Keys()
	var errs []error
	for _, key := range keys {
		if path.Ext(key) != r.Suffix {
			continue
		}
		record, err := r.read(key)
		switch {
		case err == nil:
			all = append(all, record)
		case !errors.Is(err, fs.ErrNotExist): // else another DEL was faster
			errs = append(errs, err)
		}
	}
	return all, errors.Join(errs...), err
}

// Owners lists the attachments that have a record.
func (r Records[T]) Owners() ([]name.Attachment, error) {
	return r.owners(func(T) bool { return true })
}

// Abandoned lists the attachments whose pods are provably gone.
func (r Records[T]) Abandoned() ([]name.Attachment, error) { return r.owners(T.Abandoned) }

func (r Records[T]) owners(which func(T) bool) (out []name.Attachment, err error) {
	all, _, err := r.All()
	for _, record := range all {
		if which(record) {
			out = append(out, record.Of())
		}
	}
	return out, err
}
