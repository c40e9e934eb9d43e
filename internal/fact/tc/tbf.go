package tc

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"time"

	"golang.org/x/sys/unix"

	"github.com/catena-cni/catena/internal/cni"
	"github.com/catena-cni/catena/internal/kernel"
	"github.com/catena-cni/catena/internal/netlink"
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
	// defaultBurst is the time of the rate that a burst is worth when nobody has
	// said. It must outlast the moments in which a busy machine does not get to
	// sending, or the rate is not reached; ten times as much would double what
	// passes in the first second.
	defaultBurst = 50 * time.Millisecond
	// packetTime bounds how long one packet holds up those behind it: of what a
	// pod hands over as one, 64 KiB or more, larger packets are cut into frames.
	packetTime = time.Millisecond
	// frameHeader is Ethernet's, with a VLAN's tag.
	frameHeader = 18
	// queueTime is what upstream's plugin gives the queue inside the shaper. Ours
	// waits in a queue of its own, and has the number for upstream's CHECK.
	queueTime = 25 * time.Millisecond
	// peakRate is above every rate, in bytes per second. The kernel cuts packets
	// only to a size that is given with a peak rate, so there is one, which takes
	// no time.
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

// buffer is a burst as the time that it takes, in ticks and rounded as upstream
// does it. There are rates at which it is more than the kernel's field holds.
func (l Limit) buffer(burst uint64) uint64 {
	us := math.Floor(float64(burst) * 1e6 / float64(l.bytesPerSecond()))
	return uint64(us * float64(time.Microsecond) / float64(tick))
}

// Shaper is a token bucket filter (tc-tbf(8)).
type Shaper struct {
	On    Place
	Below Handle // Root, or a band
	Limit Limit
}

// Root is where a shaper stands that is alone.
const Root = root

func (s Shaper) String() string {
	text := fmt.Sprintf("tbf %v below %v rate %d bit/s", s.On, s.Below, s.Limit.Rate)
	if s.Limit.Burst != 0 {
		text += fmt.Sprintf(" burst %d bit", s.Limit.Burst)
	}
	return text
}

// Idle says that there is no limit.
func (s Shaper) Idle() bool { return s.Limit.Rate == 0 }

// Add makes the shaper in one message.
func (s Shaper) Add(k *kernel.Kernel) error {
	if s.Idle() {
		return nil
	}
	t, err := s.On.find(k)
	if err != nil {
		return err
	}
	return t.taken(s.Below, t.make("tbf", shaperID, s.Below, netlink.Nest(unix.TCA_OPTIONS, s.Limit.attributes(t.link.MTU)...)))
}

// taken says what is there in the place of a discipline that is to be made.
func (t target) taken(below Handle, err error) error {
	if !errors.Is(err, fs.ErrExist) {
		return err
	}
	there, lerr := t.at(below)
	if lerr != nil {
		return err
	}
	err = cni.Taken("%s has a queueing discipline already, %s %v", t.link.Name, there.kind, there.handle)
	return cni.Hint(err, "detach (DEL) the container first; where it is another program's, one of the two can shape this link")
}

// Attributes of the filter (linux/pkt_sched.h).
const (
	tbfParms  = 1 // TCA_TBF_PARMS
	tbfRate   = 4 // TCA_TBF_RATE64
	tbfPeak   = 5 // TCA_TBF_PRATE64
	tbfBurst  = 6 // TCA_TBF_BURST
	tbfPacket = 7 // TCA_TBF_PBURST

	rateSize = 12              // struct tc_ratespec
	qoptSize = 2*rateSize + 12 // struct tc_tbf_qopt
)

func (l Limit) attributes(mtu int) []netlink.Attr {
	rate, frame := l.bytesPerSecond(), uint64(mtu)+frameHeader
	burst := l.burst(frame)
	ticks := l.buffer(burst)
	attrs := []netlink.Attr{
		netlink.Bytes(tbfRate, binary.NativeEndian.AppendUint64(nil, rate)),
		netlink.Bytes(tbfPeak, binary.NativeEndian.AppendUint64(nil, peakRate)),
		netlink.U32(tbfPacket, uint32(min(max(worth(rate, packetTime), frame), math.MaxUint32))),
	}
	// Rounded to ticks a burst of one frame may have no room for it, so that one
	// is given in bytes, as is what the field of ticks cannot hold.
	if ticks > math.MaxUint32 || burst != l.Burst/8 || burst < 2*frame {
		attrs = append(attrs, netlink.U32(tbfBurst, uint32(burst)))
	}
	qopt := make([]byte, qoptSize)
	put := func(at int, n uint64) { binary.NativeEndian.PutUint32(qopt[at:], uint32(min(n, math.MaxUint32))) }
	const linkLayer, ethernet, rateAt = 1, 1, 8 // in struct tc_ratespec
	qopt[linkLayer], qopt[rateSize+linkLayer] = ethernet, ethernet
	put(rateAt, rate)
	put(rateSize+rateAt, peakRate)
	put(2*rateSize, worth(rate, queueTime)+burst)
	put(2*rateSize+4, ticks)
	return append(attrs, netlink.Bytes(tbfParms, qopt))
}

// shaping is what the kernel says of a shaper.
type shaping struct {
	rate  uint64 // bytes per second
	ticks uint32
	ours  bool
}

func parseShaping(options []byte) (s shaping) {
	qopt := netlink.Find(options, tbfParms)
	if len(qopt) < qoptSize {
		return s
	}
	s.rate = uint64(netlink.Uint32(qopt[8:]))
	if wide := netlink.Find(options, tbfRate); len(wide) == 8 {
		s.rate = binary.NativeEndian.Uint64(wide)
	}
	s.ticks = netlink.Uint32(qopt[2*rateSize+4:])
	peak := netlink.Find(options, tbfPeak)
	s.ours = len(peak) == 8 && binary.NativeEndian.Uint64(peak) == peakRate
	return s
}

// Del removes the shaper and what waits under it. One that neither the peak rate
// shows to be ours nor the configuration asks for is somebody else's.
func (s Shaper) Del(k *kernel.Kernel) error {
	t, err := s.On.find(k)
	if err != nil {
		return gone(err)
	}
	there, err := t.at(s.Below)
	if err != nil {
		return gone(err)
	}
	if there.kind != "tbf" || there.handle != shaperID || s.Idle() && !parseShaping(there.options).ours {
		return nil
	}
	return t.remove(shaperID, s.Below)
}

// Check compares rate and burst.
func (s Shaper) Check(k *kernel.Kernel) error {
	if s.Idle() {
		return nil
	}
	t, err := s.On.find(k)
	if err != nil {
		return err
	}
	now, err := t.shaping(s.Below)
	if err != nil {
		return err
	}
	if now.rate != s.Limit.bytesPerSecond() {
		return fmt.Errorf("its rate is %d byte/s", now.rate)
	}
	// Upstream rounds a burst in a way of its own, and sets one that is too large
	// to something else.
	burst := s.Limit.burst(uint64(t.link.MTU) + frameHeader)
	if want := uint32(s.Limit.buffer(burst)); now.ours && !near(now.ticks, want) {
		return fmt.Errorf("its burst is worth %v, not %v", time.Duration(now.ticks)*tick, time.Duration(want)*tick)
	}
	return nil
}

// near allows for the rounding of a microsecond. Both have wrapped around alike.
func near(a, b uint32) bool {
	const ticks = int32(2 * time.Microsecond / tick)
	d := int32(a - b)
	return -ticks <= d && d <= ticks
}

// shaping reads the shaper below a parent.
func (t target) shaping(below Handle) (shaping, error) {
	there, err := t.at(below)
	if err != nil {
		return shaping{}, fmt.Errorf("%s has no shaper: %w", t.link.Name, err)
	}
	if there.kind != "tbf" || there.handle != shaperID {
		return shaping{}, fmt.Errorf("%s has %s %v instead", t.link.Name, there.kind, there.handle)
	}
	return parseShaping(there.options), nil
}
