package nft

import "fmt"

// Ready looks whether this kernel and this process can do what members need. It
// has the kernel look at the whole static part and forget it again.
func Ready() error { return ready(inet) }

// GuardReady is Ready for Guard.
func GuardReady() error { return ready(bridge) }

func ready(t *table) error {
	c, err := dial()
	if err != nil {
		return err
	}
	defer c.Close()
	if err := c.rehearse(append(t.static(), t.touch())); err != nil {
		return fmt.Errorf("nftables table %s: %w", t.name, missing(err))
	}
	return nil
}
