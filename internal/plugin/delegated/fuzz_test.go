package delegated

import (
	"encoding/json"
	"errors"
	"testing"

	"github.com/catena-cni/catena/internal/kerneltest"
	"github.com/catena-cni/catena/internal/state"
)

// FuzzFind reads files of any content, upstream's too: what is kept is handed on as it was,
// and kept again says the same.
func FuzzFind(f *testing.F) {
	for _, text := range []string{usualConf, `{"name":"n","type":"bridge"}`, `{"name":"n"}`, `null`, `[]`, ``, `{"name":"n","type":"../x"}`, `{"name":5,"type":"bridge"}`,
		`{"CAtenA":{},"nAme":"n","tYpe":"0"}`, `{"type":"a","TYPE":"b","Name":"n","name":"m"}`} {
		f.Add([]byte(text))
	}
	folder := state.Folder(f.TempDir())
	kept, _, err := Keep(folder, at("a", "eth0"), "/run/netns/a", Conf{"name": []byte(`"n"`), "type": []byte(`"bridge"`)})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(kept.content)
	f.Fuzz(func(t *testing.T, content []byte) {
		folder := state.Folder(t.TempDir())
		if err := folder.Replace("a", content); err != nil {
			t.Fatal(err)
		}
		r, err := Find(folder, at("a", "eth0"))
		if err != nil {
			kerneltest.Refused(t, err)
			return
		}
		if r.Owner.ContainerID != "a" {
			t.Errorf("it is of %v", r.Owner)
		}
		if _, _, err := Keep(folder, r.Owner, "", r.Conf); err != nil {
			t.Fatal(err)
		}
		again, err := Find(folder, r.Owner)
		if is, was := text(t, again.Conf), text(t, r.Conf); err != nil || is != was {
			t.Errorf("%v: %s is kept as %s", err, was, is)
		}
		if err := again.Remove(); err != nil {
			t.Error(err)
		}
		if _, err := Find(folder, r.Owner); !errors.Is(err, state.ErrDamaged) && err == nil {
			t.Error("it is there after its end")
		}
	})
}

// text is a configuration in one of the several ways in which it may be written.
func text(t *testing.T, c Conf) string {
	b, err := json.Marshal(c)
	if err != nil {
		t.Error(err)
	}
	return string(b)
}
