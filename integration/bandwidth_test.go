package integration

import (
	"encoding/json"
	"os/exec"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/catena-cni/catena/integration/node"
	"github.com/catena-cni/catena/internal/kerneltest"
)

// flow is a TCP connection that sends as much as it can for some seconds.
type flow struct {
	from, to *node.Space
	addr     string
	port     int
}

// pace is what its receiver counted, in bit/s of payload.
type pace struct{ all, first float64 }

const seconds = 3

func (f flow) run(t *testing.T) pace {
	t.Helper()
	server := exec.Command("iperf3", "-s", "-1", "-p", strconv.Itoa(f.port), "-J")
	must(t, f.to.Start(server))
	defer func() { _ = server.Process.Kill(); _ = server.Wait() }()
	var out string
	var err error
	for deadline := time.Now().Add(2 * time.Minute); time.Now().Before(deadline); time.Sleep(50 * time.Millisecond) {
		out, err = f.from.Run("iperf3", "-c", f.addr, "-p", strconv.Itoa(f.port), "-t", strconv.Itoa(seconds), "-i", "1", "-J", "--get-server-output")
		if !strings.Contains(out, "Connection refused") {
			break // else the server does not listen yet
		}
	}
	must(t, err)
	type counted struct {
		Intervals []struct {
			Sum struct {
				Rate float64 `json:"bits_per_second"`
			}
		}
		End struct {
			Received struct {
				Rate float64 `json:"bits_per_second"`
			} `json:"sum_received"`
		}
	}
	var said struct {
		Server counted `json:"server_output_json"`
	}
	must(t, json.Unmarshal([]byte(out), &said))
	if len(said.Server.Intervals) < seconds {
		t.Fatalf("iperf3 counted for %d seconds: %s", len(said.Server.Intervals), out)
	}
	return pace{said.Server.End.Received.Rate, said.Server.Intervals[0].Sum.Rate}
}

// within runs the flow and holds it against a limit in bit/s: 10 percent more or less, over all of the time and in the
// first second. What is too slow is tried again, since the machine may have had no time for it; too fast it is never
// allowed to be.
func (f flow) within(t *testing.T, limit float64) {
	t.Helper()
	const tries = 20
	for range tries {
		p := f.run(t)
		t.Logf("limit %.0f Mbit/s to %s: %.1f over %d s, %.1f in the first", limit/1e6, f.addr, p.all/1e6, seconds, p.first/1e6)
		if p.all > 1.1*limit || p.first > 1.1*limit {
			t.Fatal("it is more than 10 percent too fast")
		}
		if p.all >= 0.9*limit && p.first >= 0.9*limit {
			return
		}
	}
	t.Errorf("in %d tries it was more than 10 percent too slow", tries)
}

var roundTrip = regexp.MustCompile(`time=([0-9.]+) ms`)

// latency sends echo requests for as long as flows run, and gives the median and the tenth worst of a hundred, in ms.
func latency(t *testing.T, from *node.Space, addr string) (median, worse float64) {
	t.Helper()
	out, err := from.Run("ping", "-n", "-i", "0.02", "-c", "120", addr)
	must(t, err)
	var times []float64
	for _, m := range roundTrip.FindAllStringSubmatch(out, -1) {
		ms, err := strconv.ParseFloat(m[1], 64)
		must(t, err)
		times = append(times, ms)
	}
	if len(times) < 100 {
		t.Fatalf("of 120 echo requests %d were answered:\n%s", len(times), out)
	}
	slices.Sort(times)
	return times[len(times)/2], times[len(times)*9/10]
}

// limited is a node with a pod that is limited.
type limited struct {
	*node.Node
	r      *node.Runtime
	a      node.Attachment
	addr   string
	before string
}

func newLimited(t *testing.T, conflist string, caps map[string]any) limited {
	t.Helper()
	n := newNode(t)
	list, err := node.Parse([]byte(conflist), "1.1.0")
	must(t, err)
	l := limited{Node: n, r: n.Runtime(nil, plugins), a: node.Attachment{Pod: newPod(t, n, "a"), List: list, IfName: "eth0", Caps: caps}}
	l.before = text(t, n)
	must(t, l.r.Status(list))
	result, err := l.r.Add(l.a)
	must(t, err)
	must(t, l.r.Check(l.a))
	l.addr = addrs(t, result, "4")[0]
	return l
}

func (l limited) in() flow  { return flow{&l.Outside, &l.a.Pod.Space, l.addr, 5201} }
func (l limited) out() flow { return flow{&l.a.Pod.Space, &l.Outside, node.Outside4, 5202} }

// end detaches the pod, after which nothing is left.
func (l limited) end(t *testing.T) {
	t.Helper()
	must(t, l.r.Check(l.a))
	must(t, l.r.Del(l.a))
	must(t, l.r.Del(l.a))
	noneLeft(t, l.Node, l.before, "cni0")
}

const limits = `"ingressRate": 100000000,
      "egressRate": 50000000`

// limitedBy is the example with other keys for the limits.
func limitedBy(t *testing.T, keys string) string {
	t.Helper()
	text := example(t, "10-bandwidth.conflist")
	if !strings.Contains(text, limits) {
		t.Fatalf("the example has not\n%s", limits)
	}
	return strings.Replace(text, limits, keys, 1)
}

// TestBandwidth measures what passes in both directions. It is not for other tests to run beside it.
func TestBandwidth(t *testing.T) {
	kerneltest.Needs(t, "shaping")
	const runtimes = `"capabilities": {"bandwidth": true}`
	wish := func(in, out uint64) map[string]any {
		// as containerd has it
		return map[string]any{"bandwidth": map[string]uint64{"IngressRate": in, "IngressBurst": 4294967295, "EgressRate": out, "EgressBurst": 4294967295}}
	}
	for _, c := range []struct {
		name, keys string
		caps       map[string]any
		in, out    float64
	}{
		{"example", limits, nil, 100e6, 50e6},
		{"containerd", runtimes, wish(20e6, 40e6), 20e6, 40e6},
		{"in the pod", `"ingressRate": 40000000, "egressRate": 20000000, "egressShaper": "pod"`, nil, 40e6, 20e6},
	} {
		t.Run(c.name, func(t *testing.T) {
			l := newLimited(t, limitedBy(t, c.keys), c.caps)
			l.in().within(t, c.in)
			l.out().within(t, c.out)
			l.end(t)
		})
	}
}

// TestLatencyUnderLoad: at 100 Mbit/s others do not wait for ten milliseconds behind a flow that takes all there is.
func TestLatencyUnderLoad(t *testing.T) {
	kerneltest.Needs(t, "shaping")
	l := newLimited(t, limitedBy(t, `"ingressRate": 100000000, "egressRate": 100000000`), nil)
	for what, f := range map[string]flow{"ingress": l.in(), "egress": l.out()} {
		var median, worse float64
		const tries = 4 // the machine may be busy with something else
		for try := 0; try < tries && (try == 0 || worse >= 10); try++ {
			_, busy := latency(t, f.from, f.addr) // what a busy machine adds, without a queue
			done := make(chan pace)
			go func() { done <- f.run(t) }()
			time.Sleep(500 * time.Millisecond)
			median, worse = latency(t, f.from, f.addr)
			p := <-done
			t.Logf("%s: %.1f Mbit/s, latency %.2f ms, %.2f of the tenth worst in a hundred, %.2f of it the machine's", what, p.all/1e6, median, worse, busy)
			worse -= busy
			if p.all < 50e6 {
				worse = 10 // there was no load
			}
		}
		if worse >= 10 {
			t.Errorf("%s: a latency of %.2f ms, %.2f of the tenth worst", what, median, worse)
		}
	}
	l.end(t)
}

// TestExemptSubnets: what is exempt passes at more than the limit in both directions, and everything else does not.
func TestExemptSubnets(t *testing.T) {
	kerneltest.Needs(t, "shaping", "prio")
	for _, shaper := range []string{"ifb", "pod"} {
		t.Run(shaper, func(t *testing.T) {
			keys := `"ingressRate": 10000000, "egressRate": 10000000, "exemptSubnets": ["192.0.2.0/24", "2001:db8::/32"], "egressShaper": "` + shaper + `"`
			l := newLimited(t, limitedBy(t, keys), nil)
			gateway := flow{&l.a.Pod.Space, &l.Space, "10.74.0.1", 5203}
			back := flow{&l.Space, &l.a.Pod.Space, l.addr, 5204}
			gateway.within(t, 10e6)
			back.within(t, 10e6)
			for what, f := range map[string]flow{"ingress": l.in(), "egress": l.out()} {
				if p := f.run(t); p.all < 15e6 {
					t.Errorf("%s: what is exempt passes at %.1f Mbit/s", what, p.all/1e6)
				} else {
					t.Logf("%s: %.1f Mbit/s", what, p.all/1e6)
				}
			}
			l.end(t)
		})
	}
}
