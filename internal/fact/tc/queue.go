package tc

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"

	"github.com/catena-cni/catena/internal/kernel"
	"github.com/catena-cni/catena/internal/netlink"
)

// Queue is where packets wait: each flow has its turn, and one that waits for
// long is told to slow down (tc-fq_codel(8)). A kernel without it has a queue
// that is short instead. It dies with what it hangs below.
type Queue struct {
	On    Place
	Below Handle // Shaped or Exempt
	Limit Limit  // that of the shaper above
	// Asked says that it is wanted.
	Asked bool
}

// Classes that a Queue can be below.
const (
	Shaped = shaperClass
	Exempt = exemptBand
)

func (q Queue) String() string {
	return fmt.Sprintf("queue %v below %v fq_codel", q.On, q.Below)
}

// Idle says that there is nothing to wait for.
func (q Queue) Idle() bool { return !q.Asked }

func (q Queue) id() Handle {
	if q.Below == exemptBand {
		return exemptID
	}
	return queueID
}

const (
	fqLimit   = 2 // TCA_FQ_CODEL_LIMIT of linux/pkt_sched.h
	fqPackets = 1024

	// shortQueue is how many bytes wait at least where there is no fair queue: TCP
	// needs some thirty frames to get going again after a loss.
	shortQueue = 45000
)

// Add puts the queue below its class.
func (q Queue) Add(k *kernel.Kernel) error {
	if q.Idle() {
		return nil
	}
	t, err := q.On.find(k)
	if err != nil {
		return err
	}
	err = t.make("fq_codel", q.id(), q.Below, netlink.Nest(unix.TCA_OPTIONS, netlink.U32(fqLimit, fqPackets)))
	if errors.Is(err, errLacks) {
		// struct tc_fifo_qopt
		err = t.make("bfifo", q.id(), q.Below, netlink.U32(unix.TCA_OPTIONS, q.short()))
	}
	return err
}

// short is the length in bytes of a queue that is not fair: five milliseconds'
// worth, where that is enough.
func (q Queue) short() uint32 {
	const most = 4 << 20
	return uint32(min(max(q.Limit.bytesPerSecond()/200, shortQueue), most))
}

// Del does nothing: see Queue.
func (q Queue) Del(*kernel.Kernel) error { return nil }

// Check looks for the queue. Upstream has none.
func (q Queue) Check(k *kernel.Kernel) error {
	if q.Idle() {
		return nil
	}
	t, err := q.On.find(k)
	if err != nil {
		return err
	}
	if q.Below == shaperClass {
		for _, above := range []Handle{root, shapedBand} {
			if s, err := t.shaping(above); err == nil && !s.ours {
				return nil
			}
		}
	}
	there, err := t.at(q.Below)
	if err != nil {
		return err
	}
	if there.handle != q.id() || there.kind != "fq_codel" && there.kind != "bfifo" {
		return fmt.Errorf("there is %s %v instead", there.kind, there.handle)
	}
	return nil
}
