package tc

import (
	"errors"
	"fmt"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"

	"github.com/catena-cni/catena/internal/fact"
	"github.com/catena-cni/catena/internal/kernel"
)

// Queue is where packets wait: each flow has its turn, and one that waits for
// long is told to slow down (tc-fq_codel(8)). A kernel without it has a queue
// that is short instead. The one that a tbf comes with is long, as upstream's CHECK
// wants it: beside a flow of 100 Mbit/s, the tenth worst of others' packets took
// 20 ms and more in it, and takes 4. A queue dies with the discipline above.
type Queue struct {
	fact.Stays
	On    Place
	Below uint32 // Shaped or Exempt
	Limit Limit  // that of the shaper above
}

// Classes that a Queue can be below.
const (
	Shaped = shaperClass
	Exempt = exemptBand
)

func (q Queue) String() string {
	return fmt.Sprintf("queue %s below %s fq_codel", q.On.text(), netlink.HandleStr(q.Below))
}

func (q Queue) Idle() bool { return q.Limit.Rate == 0 }

func (q Queue) id() uint32 {
	if q.Below == Exempt {
		return exemptID
	}
	return queueID
}

func (q Queue) Add(k *kernel.Kernel) error {
	t, err := q.On.find(k)
	if err != nil {
		return err
	}
	queue := netlink.NewFqCodel(t.attrs(q.id(), q.Below))
	queue.Limit = 1024 // packets
	err = t.add(queue)
	if errors.Is(err, errLacks) {
		// struct tc_fifo_qopt
		err = t.addWith("bfifo", q.id(), q.Below, nl.NewRtAttr(nl.TCA_OPTIONS, nl.Uint32Attr(q.short())))
	}
	return err
}

// short is the length of such a queue in bytes: five milliseconds of the rate, and
// at least thirty frames, which TCP needs to recover after a loss.
func (q Queue) short() uint32 {
	const least, most = 45000, 4 << 20
	return uint32(min(max(q.Limit.bytesPerSecond()/200, least), most))
}

// Check looks for the queue. Upstream's shaper has none but its own.
func (q Queue) Check(k *kernel.Kernel) error {
	t, err := q.On.find(k)
	if err != nil {
		return err
	}
	if above, err := t.at(Root); err == nil && q.Below == Shaped && above.kind == "tbf" && !above.shaping().ours {
		return nil
	}
	there, err := t.at(q.Below)
	if err == nil && (there.handle != q.id() || there.kind != "fq_codel" && there.kind != "bfifo") {
		err = there.instead(t)
	}
	return err
}
