package state_test

import (
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/catena-cni/catena/internal/state"
	"github.com/catena-cni/catena/internal/state/name"
)

// lease is a record as the rooms have them.
type lease struct {
	Owner name.Attachment `json:"owner"`
	Gone  bool            `json:"gone"`
	Note  string          `json:"note"`
}

func (l lease) Of() name.Attachment { return l.Owner }
func (l lease) Abandoned() bool     { return l.Gone }

func at(id string) name.Attachment {
	return name.Attachment{Network: "net", ContainerID: id, IfName: "eth0"}
}

// TestRecords: claimed once, read as written, listed by kind.
func TestRecords(t *testing.T) {
	folder := state.Folder(filepath.Join(t.TempDir(), "records"))
	records := state.Records[lease]{Folder: folder, Kind: "lease"}
	other := state.Records[lease]{Folder: folder}
	if records.Has(at("a")) {
		t.Error("there is a record before the first")
	}
	if err := records.Claim(lease{at("a"), false, "one"}); err != nil {
		t.Fatal(err)
	}
	if err := records.Claim(lease{at("a"), false, "two"}); !errors.Is(err, fs.ErrExist) {
		t.Errorf("a second claim: %v", err)
	}
	if l, err := records.Read(at("a")); err != nil || l.Note != "one" {
		t.Errorf("%+v %v", l, err)
	}
	for _, err := range []error{records.Replace(lease{at("a"), true, "three"}), records.Replace(lease{at("b"), false, ""}), other.Replace(lease{at("c"), true, ""})} {
		if err != nil {
			t.Error(err)
		}
	}
	if l, err := records.Read(at("a")); err != nil || l.Note != "three" {
		t.Errorf("%+v %v", l, err)
	}
	if owners, err := records.Owners(); err != nil || len(owners) != 2 {
		t.Errorf("owners: %v %v", owners, err)
	}
	if gone, err := records.Abandoned(); err != nil || len(gone) != 1 || gone[0] != at("a") {
		t.Errorf("abandoned: %v %v", gone, err)
	}
	if gone, err := other.Abandoned(); err != nil || len(gone) != 1 || gone[0] != at("c") {
		t.Errorf("abandoned of the other kind: %v %v", gone, err)
	}
	for range 2 {
		if err := records.Remove(at("a")); err != nil {
			t.Error(err)
		}
	}
	if _, err := records.Read(at("a")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("removed: %v", err)
	}
}

// TestHostileFiles: a pipe, a device by a link, a huge file, another one's record
// and rubbish in a record's place are said, read no further, and harm no other.
func TestHostileFiles(t *testing.T) {
	folder := state.Folder(t.TempDir())
	records := state.Records[lease]{Folder: folder}
	if err := records.Claim(lease{Owner: at("good")}); err != nil {
		t.Fatal(err)
	}
	path := func(id string) string { return filepath.Join(string(folder), at(id).Key()) }
	good, err := os.ReadFile(path("good"))
	if err != nil {
		t.Fatal(err)
	}
	for _, err := range []error{
		exec.Command("mkfifo", path("pipe")).Run(),
		os.Symlink("/dev/zero", path("link")),
		os.WriteFile(path("empty"), nil, 0o600),
		os.WriteFile(path("rubbish"), []byte("rubbish"), 0o600),
		os.WriteFile(path("other"), good, 0o600),
		os.WriteFile(path("huge"), nil, 0o600),
		os.Truncate(path("huge"), 8<<30),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	for _, id := range strings.Fields("pipe link empty rubbish other huge") {
		if l, err := records.Read(at(id)); err == nil || !strings.Contains(err.Error(), path(id)) {
			t.Errorf("%s: %+v %v", id, l, err)
		}
	}
	all, damaged, err := records.All()
	if err != nil || len(all) != 1 || damaged == nil {
		t.Errorf("all: %v, %v, %v", all, damaged, err)
	}
	for _, id := range strings.Fields("pipe link") {
		if b, err := state.ReadFile(path(id), 100); err == nil {
			t.Errorf("%s: %d bytes are read", id, len(b))
		}
	}
}
