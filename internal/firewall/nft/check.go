package nft

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"

	"github.com/catena-cni/catena/internal/kernel"
)

// Check looks whether every member is there, is the attachment's, and leads
// where it should. Where the whole table is gone, it is put back first: that is
// the doing of a reload, and all attachments' loss.
func (m Members) Check(*kernel.Kernel) error {
	if m.Idle() {
		return nil
	}
	c, err := dial()
	if err != nil {
		return err
	}
	defer c.Close()
	c.heal()
	err = m.check(c)
	if m.claims != nil && errors.Is(err, fs.ErrNotExist) {
		if former, ok := m.claims.recorded(m); ok {
			return former.check(c)
		}
	}
	return err
}

func (m Members) check(c conn) error {
	all := make([]Element, 0, len(m.Elements))
	for _, e := range m.Elements {
		_, members := e.held()
		all = append(append(all, e), members...)
	}
	have, err := c.getEach(m.table, all)
	errs := []error{err}
	for i, e := range all {
		if err == nil {
			errs = append(errs, m.compare(e, have[i]))
		}
	}
	return errors.Join(errs...)
}

func (m Members) compare(e Element, f found) error {
	switch {
	case !f.is(e):
		return fmt.Errorf("%v is not there: %w", e, fs.ErrNotExist)
	case e.Shared:
		return nil
	case m.claims != nil && beside(m.Owner, f.comment): // which was first, if this one has come at all
		_, err := readRecord(m.key())
		return err
	case f.comment != m.Owner.Comment():
		return fmt.Errorf("%v is %s's", e, f.comment)
	case !bytes.Equal(f.data, e.Data) && e.Data != nil:
		return fmt.Errorf("%v leads elsewhere", e)
	}
	return nil
}
