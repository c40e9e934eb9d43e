package main

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

const pool = `"ranges":[[{"subnet":"10.1.2.0/24"}],[{"subnet":"fd00::/64"}]]`

// prev is a prevResult with the addresses.
func prev(addresses ...string) string {
	var ips []string
	for _, a := range addresses {
		ips = append(ips, fmt.Sprintf(`{"address":%q}`, a))
	}
	return `"prevResult":{"cniVersion":"1.1.0","ips":[` + strings.Join(ips, ",") + `]}`
}

func TestVerbs(t *testing.T) {
	t.Parallel()
	w := aWorld(t)
	conf := w.conf("1.1.0", pool)
	_, _, err := w.run(binary, "STATUS", "", conf)
	must(t, err)
	if _, err := os.Stat(w.dir); err == nil {
		t.Error("STATUS has made the folder")
	}
	if got := w.add(t, "a", conf); got != "10.1.2.2 fd00::2" {
		t.Errorf("a has %s", got)
	}
	if got := w.add(t, "b", conf); got != "10.1.2.3 fd00::3" {
		t.Errorf("b has %s", got)
	}
	check := func(id string, addresses ...string) error {
		_, _, err := w.run(binary, "CHECK", id, with(conf, prev(addresses...)))
		return err
	}
	must(t, check("a", "10.1.2.2/24", "fd00::2/64", "192.168.7.7/24"))
	wants(t, check("a", "10.1.2.3/24"), 104, "10.1.2.3")
	wants(t, check("c", "10.1.2.9/24"), 104, "10.1.2.9")
	_, _, err = w.run(binary, "CHECK", "a", conf)
	wants(t, err, 7, "prevResult")

	_, _, err = w.run(binary, "GC", "", conf)
	wants(t, err, 7, "valid-attachments")
	_, _, err = w.run(binary, "GC", "", with(conf, `"cni.dev/valid-attachments":[{"containerID":"b","ifname":"eth0"}]`))
	must(t, err)
	if got := w.leases(t); got != "10.1.2.3=b|eth0 fd00::3=b|eth0" {
		t.Errorf("after GC: %s", got)
	}
	for range 2 {
		w.del(t, "b", conf)
	}
	w.del(t, "nobody", conf)
	if got := w.leases(t); got != "" {
		t.Errorf("after DEL: %s", got)
	}
	for _, v := range versions {
		if v == "1.1.0" {
			continue
		}
		for _, verb := range []string{"GC", "STATUS"} {
			_, _, err := w.run(binary, verb, "", w.conf(v, pool))
			wants(t, err, 1, verb)
		}
	}
	out, _, err := w.run(binary, "VERSION", "", "")
	if err != nil || !strings.Contains(out, `"0.1.0"`) || !strings.Contains(out, `"1.1.0"`) {
		t.Errorf("VERSION: %v %s", err, out)
	}
}

// TestDelWhatever is wrong with the configuration: the address comes free.
func TestDelWhatever(t *testing.T) {
	t.Parallel()
	w := aWorld(t)
	for _, conf := range []string{
		w.conf("1.0.0", `"subnet":"10.9.0.0/33"`),
		w.conf("1.0.0", `"ranges":[[{"subnet":"10.1.2.0/24"}],[{"subnet":"10.1.0.0/16"}]]`),
		w.conf("1.0.0", `"ranges":7`),
		w.conf("1.0.0", `"subnet":"10.1.2.0/24","resolvConf":"/nowhere"`),
		w.conf("9.0.0", pool),
		with(w.conf("1.0.0", pool), `"prevResult":{"ips":3}`),
	} {
		w.add(t, "a", w.conf("1.0.0", pool))
		w.del(t, "a", conf, "CNI_ARGS=FOO", "CNI_NETNS=")
		if got := w.leases(t); got != "" {
			t.Errorf("%s\nleaves %s", conf, got)
		}
	}
}

// TestComesAgain: after a crash the container has a new namespace, and its own
// address; in a living one a second ADD is refused and harms nothing.
func TestComesAgain(t *testing.T) {
	t.Parallel()
	w := aWorld(t)
	conf := w.conf("1.0.0", pool)
	first := w.add(t, "a", conf)
	w.add(t, "b", conf)
	_, _, err := w.run(binary, "ADD", "a", conf)
	wants(t, err, 101, "10.1.2.2", w.netns, "DEL")
	must(t, os.Remove(w.netns))
	must(t, os.WriteFile(w.netns+"2", nil, 0o600))
	if again := w.add(t, "a", conf, "CNI_NETNS="+w.netns+"2"); again != first {
		t.Errorf("it had %s, and has %s", first, again)
	}
}

// TestFull: STATUS says it before a pod fails, and the error says who has what.
func TestFull(t *testing.T) {
	t.Parallel()
	w := aWorld(t)
	conf := w.conf("1.1.0", `"ranges":[[{"subnet":"10.1.2.0/24","rangeStart":"10.1.2.10","rangeEnd":"10.1.2.11"}]]`)
	w.add(t, "a", conf)
	w.add(t, "b", conf)
	before := w.leases(t)
	_, _, err := w.run(binary, "ADD", "c", conf)
	wants(t, err, 100, "10.1.2.10-10.1.2.11", w.dir)
	_, _, err = w.run(binary, "STATUS", "", conf)
	wants(t, err, 50, "10.1.2.10-10.1.2.11")
	if got := w.leases(t); got != before {
		t.Errorf("leases %s", got)
	}
}

// TestTwoHundredAtOnce: no address twice, none lost.
func TestTwoHundredAtOnce(t *testing.T) {
	t.Parallel()
	w := aWorld(t)
	conf := w.conf("1.0.0", `"subnet":"10.1.0.0/16"`)
	got := make([]string, 200)
	each := func(do func(i int)) {
		var wg sync.WaitGroup
		for i := range got {
			wg.Go(func() { do(i) })
		}
		wg.Wait()
	}
	each(func(i int) { got[i] = w.add(t, fmt.Sprint("c", i), conf) })
	if n := len(strings.Fields(w.leases(t))); n != len(got) {
		t.Errorf("%d leases", n)
	}
	slices.Sort(got)
	if n := len(slices.Compact(slices.Clone(got))); n != len(got) {
		t.Errorf("%d addresses for %d containers", n, len(got))
	}
	each(func(i int) { w.del(t, fmt.Sprint("c", i), conf) })
	if left := w.leases(t); left != "" {
		t.Errorf("left: %s", left)
	}
}

// TestKilled at any moment of an ADD: DEL leaves nothing, and ADD works.
func TestKilled(t *testing.T) {
	t.Parallel()
	w := aWorld(t)
	conf := w.conf("1.0.0", pool)
	for range 60 {
		cmd := w.command(binary, "ADD", "k", conf)
		must(t, cmd.Start())
		time.Sleep(time.Duration(rand.IntN(3000)) * time.Microsecond)
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		w.del(t, "k", conf)
		for name, text := range w.files(t) {
			if strings.ContainsAny(name, ".:") && !strings.HasPrefix(name, "last") && !strings.HasPrefix(name, ".") && text != "" {
				t.Fatalf("left: %s with %q", name, text)
			}
		}
	}
	for i := range 5 {
		w.add(t, fmt.Sprint("after", i), conf)
	}
}

// TestModes: what we make is ours alone to read; what is there keeps its mode.
func TestModes(t *testing.T) {
	t.Parallel()
	w := aWorld(t)
	must(t, os.Mkdir(w.dir, 0o755))
	w.add(t, "a", w.conf("1.0.0", pool))
	for path, mode := range map[string]os.FileMode{"": 0o755, "n": 0o700, "n/10.1.2.2": 0o600, "n/last_reserved_ip.0": 0o600} {
		st, err := os.Stat(filepath.Join(w.dir, path))
		if err != nil || st.Mode().Perm() != mode {
			t.Errorf("%s: %v %v", path, st.Mode(), err)
		}
	}
}
