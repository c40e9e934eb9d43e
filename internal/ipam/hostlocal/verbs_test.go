package hostlocal_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/catena-cni/catena/internal/kerneltest"
)

const twoSets = `"ranges":[[{"subnet":"10.1.2.0/24"}],[{"subnet":"fd00::/64"}]]`

// TestVerbs runs an attachment's life in every version.
func TestVerbs(t *testing.T) {
	t.Parallel()
	for _, version := range versions {
		t.Run("version "+version, func(t *testing.T) {
			t.Parallel()
			w := aWorld(t)
			conf := w.conf(version, twoSets)
			if version == "" {
				conf = strings.Replace(conf, `"cniVersion":"",`, "", 1)
			}
			w.del(t, "a", conf)
			out, _, err := w.run(binary, "ADD", "a", conf)
			must(t, err)
			_, _, err = w.run(binary, "ADD", "a", conf)
			wants(t, err, 101, "container a interface eth0 already holds 10.1.2.2", w.netns, "run DEL")
			if got := w.leases(t); got != "10.1.2.2=a|eth0 fd00::2=a|eth0" {
				t.Errorf("leases %s", got)
			}
			w.older(t, version, conf, out)
			w.del(t, "b", conf)
			w.del(t, "a", conf, "CNI_NETNS=")
			w.del(t, "a", conf)
			if got := w.leases(t); got != "" {
				t.Errorf("left %s", got)
			}
		})
	}
}

// older looks at the verbs that not every version has.
func (w world) older(t *testing.T, version, conf, result string) {
	t.Helper()
	check, status, gc := with(conf, `"prevResult":`+result), conf, with(conf, `"cni.dev/valid-attachments":[{"containerID":"a","ifname":"eth0"}]`)
	for _, c := range []struct {
		verb, conf, since string
	}{{"CHECK", check, "0.4.0"}, {"STATUS", status, "1.1.0"}, {"GC", gc, "1.1.0"}} {
		out, _, err := w.run(binary, c.verb, "a", c.conf)
		switch {
		case version < c.since:
			wants(t, err, 1, c.since)
		case err != nil || out != "":
			t.Errorf("%s: %v %s", c.verb, err, out)
		}
	}
}

func TestCheck(t *testing.T) {
	t.Parallel()
	w := aWorld(t)
	conf := w.conf("1.0.0", twoSets)
	w.add(t, "a", conf)
	w.add(t, "b", conf)
	const list = `"interfaces":[{"name":"cni0"},{"name":"eth0","sandbox":"/n"}],"ips":[{"address":"10.1.2.3/24","interface":0},{"address":"10.1.2.2/24","interface":1}`
	for _, c := range []struct {
		prev string
		code int
		says string
	}{
		{prev: `"ips":[{"address":"10.1.2.2/24"},{"address":"fd00::2/64"}]`},
		{prev: `"ips":[{"address":"10.1.2.2/24"},{"address":"192.168.0.9/24"}]`},
		{prev: `"ips":[]`},
		{prev: list + `]`},
		{list + `,null]`, 6, "prevResult"},
		{`"interfaces":[null]`, 6, "prevResult"},
		{`"ips":[{"address":"10.1.2.3/24"}]`, 104, "held by container b interface eth0"},
		{`"ips":[{"address":"10.1.2.2/24"},{"address":"10.1.2.99/24"}]`, 104, "does not hold 10.1.2.99"},
	} {
		_, _, err := w.run(binary, "CHECK", "a", with(conf, `"prevResult":{"cniVersion":"1.0.0",`+c.prev+`}`))
		if c.code != 0 {
			wants(t, err, c.code, c.says)
		} else if err != nil {
			t.Errorf("%s: %v", c.prev, err)
		}
	}
	_, _, err := w.run(binary, "CHECK", "c", with(conf, `"prevResult":{"cniVersion":"1.0.0","ips":[]}`))
	wants(t, err, 104, "container c interface eth0 holds no address")
	_, _, err = w.run(binary, "CHECK", "a", conf)
	wants(t, err, 7, "prevResult")
}

func TestGC(t *testing.T) {
	t.Parallel()
	w := aWorld(t)
	conf := w.conf("1.1.0", twoSets)
	for _, id := range []string{"a", "b", "c"} {
		w.add(t, id, conf)
	}
	other := strings.Replace(conf, `"name":"n"`, `"name":"other"`, 1)
	if got := w.add(t, "d", other); got != "10.1.2.2 fd00::2" {
		t.Errorf("another network gave %s", got)
	}
	_, _, err := w.run(binary, "GC", "", conf)
	must(t, err)
	if got := w.leases(t); strings.Count(got, "eth0") != 6 {
		t.Errorf("GC that is not told who lives left %s", got) // and all of them do
	}
	valid := `"cni.dev/valid-attachments":[{"containerID":"b","ifname":"eth0"},{"containerID":"c","ifname":"eth1"},null]`
	// The ranges are not what GC is about.
	broken := w.conf("1.1.0", `"ranges":[[{"subnet":"junk"}]]`)
	_, _, err = w.run(binary, "GC", "", with(broken, valid))
	must(t, err)
	if got := w.leases(t); got != "10.1.2.3=b|eth0 fd00::3=b|eth0" {
		t.Errorf("left %s", got)
	}
	_, _, err = w.run(binary, "GC", "", with(conf, `"cni.dev/valid-attachments":[]`))
	must(t, err)
	if got := w.leases(t); got != "" {
		t.Errorf("left %s", got)
	}
	if _, err := os.Stat(filepath.Join(w.dir, "other", "10.1.2.2")); err != nil {
		t.Errorf("the lease of another network: %v", err)
	}
}

func TestStatus(t *testing.T) {
	t.Parallel()
	w := aWorld(t)
	one := `"ranges":[[{"subnet":"10.1.2.0/24","rangeEnd":"10.1.2.2"}],[{"subnet":"fd00::/64"}]]`
	conf := w.conf("1.1.0", one)
	status := func(conf string) error {
		_, _, err := w.run(binary, "STATUS", "", conf)
		return err
	}
	must(t, status(conf))
	if _, err := os.Stat(w.dir); err == nil {
		t.Error("STATUS has made the folder")
	}
	w.add(t, "a", conf)
	wants(t, status(conf), 50, "no address is free in 10.1.2.1-10.1.2.2", "1 held by 1 containers", "widen the range")
	must(t, os.Rename(w.netns, w.netns+".gone"))
	must(t, status(conf))
	wants(t, status(w.conf("1.1.0", one+`,"resolvConf":"/nowhere"`)), 50, "ipam.resolvConf", "no such file")
	wants(t, status(w.conf("1.1.0", `"subnet":"junk"`)), 7, "junk")
	w.dir = filepath.Join(w.netns+".gone", "data") // below a plain file
	wants(t, status(w.conf("1.1.0", one)), 50, "not a directory")
}

// TestTakeOver looks at a container that comes again.
func TestTakeOver(t *testing.T) {
	t.Parallel()
	w := aWorld(t)
	conf := w.conf("1.0.0", twoSets)
	first := w.add(t, "a", conf)
	must(t, os.Remove(w.netns))
	must(t, os.WriteFile(w.netns+"2", nil, 0o600))
	w.netns += "2"
	if got := w.add(t, "a", conf); got != first {
		t.Errorf("the container that came again got %s, and had %s", got, first)
	}
	_, _, err := w.run(binary, "ADD", "a", conf)
	wants(t, err, 101, w.netns)
}

func TestRequested(t *testing.T) {
	t.Parallel()
	w := aWorld(t)
	conf := w.conf("1.0.0", twoSets)
	for id, c := range map[string]struct{ rest, args, want string }{
		"env":     {args: "IgnoreUnknown=1;K8S_POD_NAME=web;IP=10.1.2.50", want: "10.1.2.50 fd00::2"},
		"args":    {rest: `"args":{"cni":{"ips":["fd00::50/128"]}}`, want: "10.1.2.2 fd00::50"},
		"runtime": {rest: `"runtimeConfig":{"ips":["fd00::60","10.1.2.60"]}`, want: "10.1.2.60 fd00::60"},
		"all":     {rest: `"runtimeConfig":{"ips":["fd00::70"]},"args":{"cni":{"ips":["10.1.2.70"]}}`, args: "IP=10.1.2.70/32", want: "10.1.2.70 fd00::70"},
		"pool":    {rest: `"runtimeConfig":{"ipRanges":[[{"subnet":"10.9.0.0/24"}]]}`, want: "10.9.0.2 10.1.2.2 fd00::2"},
	} {
		text := conf
		if c.rest != "" {
			text = with(conf, c.rest)
		}
		if got := w.add(t, id, text, "CNI_ARGS="+c.args); got != c.want {
			t.Errorf("%s got %s, want %s", id, got, c.want)
		}
		w.del(t, id, conf, "CNI_ARGS=;;=junk")
		if got := w.leases(t); got != "" {
			t.Fatalf("left %s", got)
		}
		must(t, os.RemoveAll(w.dir))
	}
}

// TestMany attaches two hundred at a time.
func TestMany(t *testing.T) {
	kerneltest.NeedsTime(t)
	w := aWorld(t)
	conf := w.conf("1.1.0", twoSets)
	const many = 200
	each := func(do func(id string) error) time.Duration {
		t.Helper()
		began := time.Now()
		var wg sync.WaitGroup
		for i := range many {
			wg.Go(func() {
				if err := do(fmt.Sprint("c", i)); err != nil {
					t.Error(err)
				}
			})
		}
		wg.Wait()
		return time.Since(began)
	}
	var mu sync.Mutex
	given := map[string]string{}
	took := each(func(id string) error {
		out, _, err := w.run(binary, "ADD", id, conf)
		if err != nil {
			return err
		}
		mu.Lock()
		defer mu.Unlock()
		for addr := range strings.FieldsSeq(addresses(t, out)) {
			if other := given[addr]; other != "" {
				return fmt.Errorf("%s was given to %s and to %s", addr, other, id)
			}
			given[addr] = id
		}
		return nil
	})
	t.Logf("%d ADDs at a time took %v", many, took)
	if len(given) != 2*many {
		t.Errorf("%d addresses were given", len(given))
	}
	for name, text := range w.files(t) {
		if id := given[name]; id != "" && text != id+"\r\neth0" {
			t.Errorf("the file %s says %q, and %s was told so", name, text, id)
		}
	}
	if got := strings.Fields(w.leases(t)); len(got) != 2*many {
		t.Errorf("%d leases", len(got))
	}
	took = each(func(id string) error {
		_, _, err := w.run(binary, "DEL", id, conf)
		return err
	})
	t.Logf("%d DELs at a time took %v", many, took)
	if got := w.leases(t); got != "" {
		t.Errorf("left %s", got)
	}
}

// TestKilled kills ADDs at moments spread over one and expects the DEL that
// follows to leave nothing, and an ADD to work.
func TestKilled(t *testing.T) {
	kerneltest.NeedsTime(t)
	w := aWorld(t)
	conf := w.conf("1.0.0", `"ranges":[[{"subnet":"10.1.2.0/28"}],[{"subnet":"fd00::/64"}]]`)
	w.add(t, "other", conf)
	began := time.Now()
	w.add(t, "k", conf)
	took := time.Since(began)
	w.del(t, "k", conf)

	const moments = 150
	finished := 0
	for i := range moments {
		cmd := w.command(binary, "ADD", "k", conf)
		must(t, cmd.Start())
		time.Sleep(took * time.Duration(i) / moments * 5 / 4)
		_ = cmd.Process.Kill()
		if cmd.Wait() == nil {
			finished++
		}
		if i%3 == 0 { // a retry without a DEL: the same container comes again
			_, _, err := w.run(binary, "ADD", "k", conf)
			if p, ok := err.(printed); err != nil && (!ok || p.Code != 101) {
				t.Fatal(err)
			}
		}
		w.del(t, "k", conf)
		for lease := range strings.FieldsSeq(w.leases(t)) {
			if !strings.HasSuffix(lease, "=other|eth0") {
				t.Fatalf("at %d/%d of an ADD: left %s", i, moments, w.leases(t))
			}
		}
	}
	t.Logf("%d of %d ADDs were done before they were killed", finished, moments)
	// Every address but the gateway can still be given: nothing leaked.
	for i := range 12 {
		w.add(t, fmt.Sprint("c", i), conf)
	}
	_, _, err := w.run(binary, "ADD", "one-too-many", conf)
	wants(t, err, 100, "13 held by 13 containers")
}
