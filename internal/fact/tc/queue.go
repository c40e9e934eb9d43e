package tc

import (
	"errors"
	"fmt"
	"io/fs"

	"github.com/vishvananda/netlink"

	"github.com/catena-cni/catena/internal/kernel"
)

// Queue is where packets wait: each flow has its turn, and one that waits for
// long is told to slow down (tc-fq_codel(8)). A kernel without it keeps the queue
// that comes with the class above. It dies with what it hangs below.
type Queue struct {
	On    Place
	Below uint32 // Shaped or Exempt
	// Asked says that it is wanted.
	Asked bool
}

// Classes that a Queue can be below.
const (
	Shaped = shaperClass
	Exempt = exemptBand
)

func (q Queue) String() string {
	return fmt.Sprintf("queue %s below %s fq_codel", q.On.text(), netlink.HandleStr(q.Below))
}

// Idle says that there is nothing to wait for.
func (q Queue) Idle() bool { return !q.Asked }

func (q Queue) id() uint32 {
	if q.Below == Exempt {
		return exemptID
	}
	return queueID
}

// Add puts the queue below its class.
func (q Queue) Add(k *kernel.Kernel) error {
	t, err := q.On.find(k)
	if err != nil {
		return err
	}
	queue := netlink.NewFqCodel(t.attrs(q.id(), q.Below))
	queue.Limit = 1024 // packets
	if err := t.add(queue); !errors.Is(err, errLacks) {
		return err
	}
	return nil
}

// Del does nothing: see Queue.
func (q Queue) Del(*kernel.Kernel) error { return nil }

// Check looks for the queue.
func (q Queue) Check(k *kernel.Kernel) error {
	t, err := q.On.find(k)
	if err != nil {
		return err
	}
	there, err := t.at(q.Below)
	switch {
	case errors.Is(err, fs.ErrNotExist) && (q.upstreams(t) || errors.Is(lacking("fq_codel"), errLacks)):
		return nil
	case err == nil && (there.handle != q.id() || there.kind != "fq_codel"):
		return there.instead(t)
	}
	return err
}

// upstreams reports whether the shaper above is upstream's, which has no queue but
// its own.
func (q Queue) upstreams(t target) bool {
	above, err := t.at(Root)
	return err == nil && q.Below == Shaped && above.kind == "tbf" && !above.shaping().ours
}
