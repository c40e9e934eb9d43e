package upstream

import (
	"errors"
	"fmt"
	"io/fs"
	"strings"

	"github.com/catena-cni/catena/internal/kernel"
)

// Link is the host's end of a pair that upstream's bridge or ptp made, by the
// result of that ADD. It is found by the pod's end too; this is for a DEL that
// does not say where the pod is. Without a name it is nothing.
type Link struct {
	Name, MAC string
}

func (l Link) String() string { return fmt.Sprintf("link host %s that upstream made", l.Name) }

func (l Link) Idle() bool { return true }

// Add does nothing: see Link.
func (l Link) Add(*kernel.Kernel) error { return nil }

// Check does nothing: the pair has its own fact.
func (l Link) Check(*kernel.Kernel) error { return nil }

// Del removes the link if it is the one that the result speaks of, and not
// another that has its name by chance.
func (l Link) Del(k *kernel.Kernel) error {
	if l.Name == "" || l.MAC == "" {
		return nil
	}
	k.Invalidate(kernel.Host, l.Name)
	have, err := k.Link(kernel.Host, l.Name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil || have.Kind != "veth" || have.MAC.String() != l.MAC || have.Alias != "" {
		return err
	}
	return k.RemoveLink(kernel.Host, have)
}

// HostName reports whether a link has a name as upstream's plugins give them:
// eight digits that are drawn by lot.
func HostName(link string) bool {
	digits, ok := strings.CutPrefix(link, "veth")
	return ok && len(digits) == 8 && strings.Trim(digits, "0123456789abcdef") == ""
}
