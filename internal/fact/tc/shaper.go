package tc

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"time"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"

	"github.com/catena-cni/catena/internal/fact"
	"github.com/catena-cni/catena/internal/kernel"
)

// Limit is how much may pass. Its zero value is no limit.
type Limit struct {
	// Rate in bit/s, of whole frames without preamble and checksum.
	Rate uint64
	// Burst is how many bits may pass at once after a pause, and 0 leaves it to
	// the shaper.
	Burst uint64
}

// The kernel's token bucket filter in numbers.
const (
	// defaultBurst is the burst, as a time of the rate, where the configuration has
	// none. With less, a busy machine does not reach the rate; ten times as much
	// would let nearly twice the rate pass in the first second.
	defaultBurst = 50 * time.Millisecond
	// packetTime bounds how long one packet holds up others. A pod hands over
	// 64 KiB or more as one packet (GSO): the kernel cuts larger ones into frames.
	packetTime = time.Millisecond
	// frameHeader is Ethernet's, with a VLAN's tag.
	frameHeader = 18
	// queueTime is what upstream's plugin gives the queue inside the shaper, and
	// looks for in CHECK.
	queueTime = 25 * time.Millisecond
	// peakRate is in bytes per second, above every rate, so that it limits nothing.
	// The kernel takes the size to cut packets to only with a peak rate. It also
	// tells our shapers from others'.
	peakRate = 1 << 62
	// tick is the unit of a burst in struct tc_tbf_qopt (PSCHED_SHIFT of
	// net/pkt_sched.h).
	tick = 64 * time.Nanosecond
)

// bytesPerSecond is the rate as the kernel has it. What rounds to nothing is the
// least that there is.
func (l Limit) bytesPerSecond() uint64 { return max(l.Rate/8, 1) }

// burst in bytes, for frames of a size: one of them passes in any case.
func (l Limit) burst(frame uint64) uint64 {
	bytes := l.Burst / 8
	if bytes == 0 {
		bytes = worth(l.bytesPerSecond(), defaultBurst)
	}
	return min(max(bytes, frame), math.MaxUint32)
}

// worth is the bytes that a rate comes to in a time of less than a second.
func worth(bytesPerSecond uint64, d time.Duration) uint64 {
	return bytesPerSecond / uint64(time.Second/d)
}

// ticks is a burst as the time that it takes, rounded as upstream does it. There
// are rates at which it is more than the kernel's field holds.
func (l Limit) ticks(burst uint64) uint64 {
	us := math.Floor(float64(burst) * 1e6 / float64(l.bytesPerSecond()))
	return uint64(us * float64(time.Microsecond) / float64(tick))
}

// Shaper is a token bucket filter (tc-tbf(8)).
type Shaper struct {
	On    Place
	Below uint32 // Root, or ShapedBand
	Limit Limit
}

// Root is the parent of a shaper without bands.
const Root = netlink.HANDLE_ROOT

func (s Shaper) String() string {
	text := fmt.Sprintf("tbf %s below %s rate %d bit/s", s.On.text(), netlink.HandleStr(s.Below), s.Limit.Rate)
	if s.Limit.Burst != 0 {
		text += fmt.Sprintf(" burst %d bit", s.Limit.Burst)
	}
	return text
}

func (s Shaper) Idle() bool { return s.Limit.Rate == 0 }

// Add makes the shaper. Its options are by hand: netlink.Tbf cannot say a burst in
// bytes, and without that a burst of one frame has no room for it when it is
// rounded to ticks.
func (s Shaper) Add(k *kernel.Kernel) error {
	t, err := s.On.find(k)
	if err != nil {
		return err
	}
	return t.taken(s.Below, t.addWith("tbf", shaperID, s.Below, s.Limit.options(t.link.MTU)))
}

// options are those of the filter on a link of an MTU.
func (l Limit) options(mtu int) *nl.RtAttr {
	const tbfBurst = 6 // TCA_TBF_BURST of linux/pkt_sched.h, which nl does not have
	rate, frame := l.bytesPerSecond(), uint64(mtu)+frameHeader
	burst := l.burst(frame)
	ticks := l.ticks(burst)
	parms := nl.TcTbfQopt{
		Rate: nl.TcRateSpec{Rate: clamp(rate)}, Peakrate: nl.TcRateSpec{Rate: math.MaxUint32},
		Limit: clamp(worth(rate, queueTime) + burst), Buffer: clamp(ticks),
	}
	options := nl.NewRtAttr(nl.TCA_OPTIONS, nil)
	options.AddRtAttr(nl.TCA_TBF_PARMS, parms.Serialize())
	options.AddRtAttr(nl.TCA_TBF_RATE64, nl.Uint64Attr(rate))
	options.AddRtAttr(nl.TCA_TBF_PRATE64, nl.Uint64Attr(peakRate))
	options.AddRtAttr(nl.TCA_TBF_PBURST, nl.Uint32Attr(clamp(max(worth(rate, packetTime), frame))))
	if ticks > math.MaxUint32 || burst != l.Burst/8 || burst < 2*frame {
		options.AddRtAttr(tbfBurst, nl.Uint32Attr(clamp(burst)))
	}
	return options
}

func clamp(n uint64) uint32 { return uint32(min(n, math.MaxUint32)) }

// shaping is what the kernel says of a shaper.
type shaping struct {
	rate  uint64 // bytes per second
	ticks uint32
	ours  bool
}

func (d discipline) shaping() (s shaping) {
	attrs, err := kernel.AttrsByKind(d.options)
	parms := attrs[nl.TCA_TBF_PARMS].Value
	if err != nil || len(parms) < nl.SizeofTcTbfQopt {
		return s
	}
	qopt := nl.DeserializeTcTbfQopt(parms)
	s.rate, s.ticks = uint64(qopt.Rate.Rate), qopt.Buffer
	if wide := attrs[nl.TCA_TBF_RATE64].Value; len(wide) == 8 {
		s.rate = binary.NativeEndian.Uint64(wide)
	}
	peak := attrs[nl.TCA_TBF_PRATE64].Value
	s.ours = len(peak) == 8 && binary.NativeEndian.Uint64(peak) == peakRate
	return s
}

// Del removes the shaper and the queue below. A shaper without our peak rate is
// removed only where the configuration asks for one: else it is somebody else's.
func (s Shaper) Del(k *kernel.Kernel) error {
	t, there, err := look(k, s.On, s.Below)
	if err != nil || there.kind != "tbf" || there.handle != shaperID || s.Idle() && !there.shaping().ours {
		return gone(err)
	}
	return t.remove(shaperID, s.Below)
}

func (s Shaper) Check(k *kernel.Kernel) error {
	t, err := s.On.find(k)
	if err != nil {
		return err
	}
	there, err := t.at(s.Below)
	switch {
	case err != nil:
		return fmt.Errorf("%s has no shaper: %w", t.link.Name, err)
	case there.kind != "tbf" || there.handle != shaperID:
		return there.instead(t)
	}
	now := there.shaping()
	if now.rate != s.Limit.bytesPerSecond() {
		return fmt.Errorf("its rate is %d byte/s", now.rate)
	}
	// Upstream rounds a burst differently, and lets a large one overflow.
	want := uint32(s.Limit.ticks(s.Limit.burst(uint64(t.link.MTU) + frameHeader)))
	if now.ours && !near(now.ticks, want) {
		return fmt.Errorf("its burst is worth %v, not %v", time.Duration(now.ticks)*tick, time.Duration(want)*tick)
	}
	return nil
}

// instead says what is in the place of a discipline of ours.
func (d discipline) instead(t target) error {
	return fmt.Errorf("%s has %s %s instead", t.link.Name, d.kind, netlink.HandleStr(d.handle))
}

// near allows for rounding to a microsecond. Both numbers have overflowed alike.
func near(a, b uint32) bool {
	const ticks = int32(2 * time.Microsecond / tick)
	d := int32(a - b)
	return -ticks <= d && d <= ticks
}

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
