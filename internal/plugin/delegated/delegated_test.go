package delegated

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"strings"
	"testing"

	"github.com/catena-cni/catena/internal/state"
	"github.com/catena-cni/catena/internal/state/name"
)

func parse(t *testing.T, text string) (c Conf) {
	t.Helper()
	if err := json.Unmarshal([]byte(text), &c); err != nil {
		t.Fatal(err)
	}
	return c
}

func TestConf(t *testing.T) {
	c := parse(t, `{"MTU":9,"type":null,"Name":"n","ipam":{}}`)
	d := c.Clone()
	for _, err := range []error{d.SetDefault("mtu", 1), d.SetDefault("type", "bridge"), d.Set("name", "m"), d.SetDefault("other", true), Conf(nil).Clone().Set("x", 1)} {
		if err != nil {
			t.Error(err)
		}
	}
	if text, _ := json.Marshal(d); string(text) != `{"MTU":9,"ipam":{},"name":"m","other":true,"type":"bridge"}` {
		t.Errorf("%s", text)
	}
	if text, _ := json.Marshal(c); string(text) != `{"MTU":9,"Name":"n","ipam":{},"type":null}` {
		t.Errorf("what was cloned is %s", text)
	}
	if kind, err := c.Type(); kind != "" || err != nil {
		t.Errorf("no type: %q %v", kind, err)
	}
	if kind, err := d.Type(); kind != "bridge" || err != nil {
		t.Errorf("%q %v", kind, err)
	}
	if _, err := parse(t, `{"Type":["bridge"]}`).Type(); err == nil || !strings.Contains(err.Error(), `type is ["bridge"]`) {
		t.Error(err)
	}
	several := parse(t, `{"type":"c","TYPE":"a","Type":"b","tYpe":null}`)
	for range 20 { // maps are in no order
		if kind, err := several.Type(); kind != "c" || err != nil {
			t.Errorf("of several: %q %v", kind, err)
		}
	}
	if err := d.Set("x", func() {}); err == nil {
		t.Error("a function was written as JSON")
	}
}

const usualConf = `{"name":"n","type":"bridge"}`

func at(container, ifname string) name.Attachment {
	return name.Attachment{Network: "n", ContainerID: container, IfName: ifname}
}

// TestNamesakes: no two attachments of one network share a file.
func TestNamesakes(t *testing.T) {
	f := state.Folder(filepath.Join(t.TempDir(), "x"))
	all := []name.Attachment{at("a", "eth0"), at("a", "b"), at("a.b", "eth0"), at("a", "eth0_b"), at("a_eth0", "b"), at("a-b", "~"), at("a", "b-~")}
	for _, a := range all {
		if kept, before, err := Keep(f, a, "", parse(t, usualConf)); err != nil || before.Alive() || kept.File() != File(f, a) {
			t.Errorf("%s: %v %v", a, before, err)
		}
	}
	for _, a := range all {
		r, err := Find(f, a)
		if err != nil || r.Owner != a || r.Conf.Has(mark) || !r.Abandoned() {
			t.Errorf("%s: %+v %v", a, r, err)
		}
		if err := errors.Join(r.Remove(), r.Remove()); err != nil {
			t.Error(err)
		}
		if _, err := Find(f, a); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s: %v", a, err)
		}
	}
}

// TestRestore brings back what was there, to the letter.
func TestRestore(t *testing.T) {
	f := state.Folder(t.TempDir())
	for _, content := range []string{usualConf, "", "{torn", `{"name":"m","type":"ptp","catena":7}`} {
		if err := f.Replace("a", []byte(content)); err != nil {
			t.Fatal(err)
		}
		_, before, err := Keep(f, at("a", "eth0"), "", parse(t, usualConf))
		if err = errors.Join(err, before.Restore()); err != nil {
			t.Error(err)
		}
		if b, _ := f.Read("a"); string(b) != content {
			t.Errorf("%q became %q", content, b)
		}
	}
}

func TestUnreadable(t *testing.T) {
	f := state.Folder(t.TempDir())
	for _, content := range []string{
		"", "7", "null", "[]", "{torn", `{}`, `{"name":"n"}`, `{"type":"bridge"}`, `{"name":7,"type":"bridge"}`, `{"name":"n","type":{}}`,
		`{"name":"n","type":"bridge","catena":7}`,
		`{"name":"n","type":"bridge","catena":{"attachment":{"Network":"n","ContainerID":"b","IfName":"eth0"}}}`,
	} {
		if err := f.Replace("a", []byte(content)); err != nil {
			t.Fatal(err)
		}
		r, err := Find(f, at("a", "eth0"))
		if !errors.Is(err, state.ErrDamaged) || r.File() != string(f)+"/a" {
			t.Errorf("%s: %v %s", content, err, r.File())
		}
		if stale, err := Stale(f, "n", nil); len(stale) != 0 || err != nil {
			t.Errorf("%s: stale are %v, %v", content, stale, err)
		}
		// It is not another interface's, whatever it says.
		if _, err := Find(f, at("a", "net1")); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s: %v", content, err)
		}
	}
}

func TestStale(t *testing.T) {
	f := state.Folder(filepath.Join(t.TempDir(), "x"))
	if stale, err := Stale(f, "n", nil); len(stale) != 0 || err != nil {
		t.Errorf("a folder that is not there: %v %v", stale, err)
	}
	for _, a := range []name.Attachment{at("a", "eth0"), at("a", "net1"), {Network: "m", ContainerID: "b", IfName: "eth0"}} {
		if _, _, err := Keep(f, a, "", parse(t, usualConf)); err != nil {
			t.Fatal(err)
		}
	}
	if err := f.Replace("upstreams", []byte(usualConf)); err != nil {
		t.Fatal(err)
	}
	for want, valid := range map[string][]name.Attachment{
		"[n/a/eth0 n/a/net1 n/upstreams/eth0]": nil,
		"[n/a/net1 n/upstreams/eth0]":          {at("a", "eth0")},
		"[n/a/eth0]":                           {at("a", "net1"), at("upstreams", "any")},
	} {
		stale, err := Stale(f, "n", valid)
		var owners []name.Attachment
		for _, r := range stale {
			owners = append(owners, r.Owner)
		}
		if got := fmt.Sprint(owners); err != nil || got != want {
			t.Errorf("%v: %s, %v; want %s", valid, got, err, want)
		}
	}
}
