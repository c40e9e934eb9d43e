package nft

import (
	"fmt"

	"github.com/catena-cni/catena/internal/state"
)

// Ready looks whether this kernel and this process can do what members need.
// Where the table is there, they could. Else the kernel looks at the whole
// static part and forgets it again, which takes it some milliseconds, and so is
// done once in a boot: runtimes ask every few seconds.
func Ready() error { return ready(inet) }

// GuardReady is Ready for Guard.
func GuardReady() error { return ready(bridge) }

// rehearsed has a file for each table that this boot's kernel has looked at, and
// another one where the table was made.
const rehearsed = state.Folder("/run/catena/nft/ready")

// made reports whether the table was there ever in this boot. Where it never
// was, no record need be read to know that nothing of it is lost.
func (t *table) made() bool {
	_, err := rehearsed.Read(t.madeKey())
	return err == nil
}

func (t *table) madeKey() string { return fmt.Sprintf("%d-made", t.family) }

func ready(t *table) error {
	c, err := dial()
	if err != nil {
		return err
	}
	defer c.Close()
	_, there, err := c.get(t, Element{Set: layout.name, Key: native(1)})
	if there {
		return nil
	}
	key := fmt.Sprintf("%d-%s", t.family, layout.name)
	if err == nil {
		if _, err := rehearsed.Read(key); err == nil {
			return nil
		}
		err = c.rehearse(append(t.static(), t.touch()))
	}
	if err != nil {
		return fmt.Errorf("nftables table %s: %w", t.name, missing(err))
	}
	_ = rehearsed.Replace(key, nil) // without it the next call looks again
	return nil
}
