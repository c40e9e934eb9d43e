package hostlocal_test

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/catena-cni/catena/internal/kerneltest"
)

// TestSameResults gives both the same work, and expects the same answers and
// the same files.
func TestSameResults(t *testing.T) {
	t.Parallel()
	theirs := kerneltest.Upstream(t, "host-local")
	for _, version := range versions {
		ours, peers := aWorld(t), aWorld(t)
		peers.netns = ours.netns
		file := filepath.Join(filepath.Dir(ours.netns), "resolv.conf")
		must(t, os.WriteFile(file, []byte(resolvConf), 0o600))
		members := `"subnet":"10.1.2.0/24","rangeStart":"10.1.2.9","ranges":[[{"subnet":"fd00::/64","gateway":"fd00::fe"}]],
			"routes":[{"dst":"10.0.0.0/8","gw":"10.1.2.3","mtu":1400,"advmss":1300,"priority":7,"table":0,"scope":0},{"dst":"::/0","gw":"fd00::1","table":100}],"resolvConf":"` + file + `"`
		for _, env := range []string{"", "CNI_ARGS=IP=10.1.2.77/9", "CNI_ARGS=IgnoreUnknown=1;K8S_POD_NAME=web"} {
			id := fmt.Sprint("c", len(env))
			got, _, err := ours.run(binary, "ADD", id, ours.conf(version, members), env)
			must(t, err)
			want, _, err := peers.run(theirs, "ADD", id, peers.conf(version, members), env)
			must(t, err)
			if got != want {
				t.Errorf("version %q %s: ours says\n%s\nand upstream's\n%s", version, env, got, want)
			}
			for name, text := range peers.files(t) {
				if got := ours.files(t)[name]; got != text {
					t.Errorf("the file %s is %q, and upstream's %q", name, got, text)
				}
			}
		}
	}
}

// TestTurns lets both work in one folder in random turns: no address is given
// twice, none is lost, and each frees what the other took.
func TestTurns(t *testing.T) {
	kerneltest.NeedsTime(t)
	t.Parallel()
	for name, keys := range map[string]string{"as upstream's": "", "with our keys": `,"stickyKey":"K8S_POD_NAME","exclude":["10.1.9.0/24"]`} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			takeTurns(t, keys)
		})
	}
}

func takeTurns(t *testing.T, keys string) {
	const seed = 7
	rnd := rand.New(rand.NewPCG(seed, seed))
	w := aWorld(t)
	conf := w.conf("1.1.0", `"ranges":[[{"subnet":"10.1.2.0/28"},{"subnet":"10.1.3.0/29"}],[{"subnet":"fd00::/64"}]]`+keys)
	const room = 13 + 5
	programs := map[string]string{"ours": binary, "upstream": kerneltest.Upstream(t, "host-local")}
	held := map[string]string{}  // container to its addresses
	taker := map[string]string{} // container to who took them
	did := map[string]int{}
	for step := range 1000 {
		who := []string{"ours", "upstream"}[rnd.IntN(2)]
		id := fmt.Sprint("c", step)
		verb := []string{"ADD", "ADD", "ADD", "ADD", "again", "CHECK", "DEL", "DEL", "unknown", "GC"}[rnd.IntN(10)]
		switch {
		case verb == "GC" && (who == "upstream" || rnd.IntN(4) > 0), len(held) == 0:
			verb = "ADD" // upstream has no GC
		case verb == "again" || verb == "CHECK" || verb == "DEL":
			id = pick(rnd, held)
		}
		run := func(verb, conf string) (string, error) {
			out, _, err := w.run(programs[who], verb, id, conf, "CNI_ARGS=IgnoreUnknown=1;K8S_POD_NAME=web-"+fmt.Sprint(rnd.IntN(30)))
			return out, err
		}
		did[verb+" by "+who]++
		switch verb {
		case "ADD":
			out, err := run("ADD", conf)
			if len(held) == room {
				if did["full, said by "+who]++; err == nil {
					t.Fatalf("step %d: %s gave %s of a full range", step, who, out)
				}
				break
			}
			must(t, err)
			held[id], taker[id] = addresses(t, out), who
		case "again":
			out, err := run("ADD", conf)
			if err == nil && (who == "upstream" || addresses(t, out) != held[id]) {
				t.Fatalf("step %d: %s gave %s to %s, which holds %s", step, who, addresses(t, out), id, held[id])
			}
		case "CHECK":
			_, err := run("CHECK", with(conf, `"prevResult":`+result1(held[id])))
			must(t, err)
		case "DEL", "unknown":
			_, err := run("DEL", conf)
			must(t, err)
			if verb == "DEL" {
				did[who+" freed what was taken by "+taker[id]]++
			}
			delete(held, id)
		case "GC":
			gone := pick(rnd, held)
			delete(held, gone)
			var valid []string
			for id := range held {
				valid = append(valid, fmt.Sprintf(`{"containerID":%q,"ifname":"eth0"}`, id))
			}
			_, err := run("GC", with(conf, `"cni.dev/valid-attachments":[`+strings.Join(valid, ",")+`]`))
			must(t, err)
		}
		var want []string
		for id, addrs := range held {
			for addr := range strings.FieldsSeq(addrs) {
				want = append(want, addr+"="+id+"|eth0")
			}
		}
		if got := w.leases(t); got != sorted(want) {
			t.Fatalf("step %d, %s by %s: leases %s, want %s", step, verb, who, got, sorted(want))
		}
	}
	t.Log(did)
	for _, a := range []string{"ours", "upstream"} {
		for _, b := range []string{"ours", "upstream"} {
			if what := a + " freed what was taken by " + b; did[what] < 20 {
				t.Errorf("%d times %s: the test does not vary as it should", did[what], what)
			}
		}
	}
	for id := range held {
		w.del(t, id, conf)
	}
	if got := w.leases(t); got != "" {
		t.Errorf("left %s", got)
	}
}

func pick(rnd *rand.Rand, held map[string]string) string {
	var ids []string
	for id := range held {
		ids = append(ids, id)
	}
	slices.Sort(ids)
	return ids[rnd.IntN(len(ids))]
}

// result1 is a result of version 1.1.0 with the addresses given.
func result1(addrs string) string {
	var ips []string
	for addr := range strings.FieldsSeq(addrs) {
		length := "/28"
		if strings.Contains(addr, ":") {
			length = "/64"
		}
		ips = append(ips, `{"address":"`+addr+length+`"}`)
	}
	return `{"cniVersion":"1.1.0","ips":[` + strings.Join(ips, ",") + `]}`
}

// TestBothAtOnce runs both at the same time in one folder.
func TestBothAtOnce(t *testing.T) {
	t.Parallel()
	theirs := kerneltest.Upstream(t, "host-local")
	w := aWorld(t)
	conf := w.conf("1.0.0", `"ranges":[[{"subnet":"10.1.2.0/24"}],[{"subnet":"fd00::/64"}]]`)
	programs := []string{binary, theirs}
	const many = 60
	var mu sync.Mutex
	given := map[string]bool{}
	var wg sync.WaitGroup
	for i := range many {
		wg.Go(func() {
			id := fmt.Sprint("c", i)
			out, _, err := w.run(programs[i%2], "ADD", id, conf)
			if err != nil {
				t.Error(err)
				return
			}
			mu.Lock()
			for addr := range strings.FieldsSeq(addresses(t, out)) {
				if given[addr] {
					t.Errorf("%s was given twice", addr)
				}
				given[addr] = true
			}
			mu.Unlock()
			if i%3 == 0 { // the other one frees it
				if _, _, err := w.run(programs[1-i%2], "DEL", id, conf); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	if got := len(strings.Fields(w.leases(t))); got != 2*(many-many/3) {
		t.Errorf("%d leases are left", got)
	}
}
