package state_test

import (
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
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
	records := state.Records[lease]{Folder: folder, Suffix: ".lease"}
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

// TestHostileFiles: a pipe, a device by a link, a huge file, another one's record,
// another user's file and rubbish in a record's place are said, read no further,
// and harm no other. DEL gets them out of the way.
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
		os.Mkdir(path("folder"), 0o700),
		syscall.Mknod(path("socket"), syscall.S_IFSOCK|0o600, 0),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	hostile := "pipe link empty rubbish other huge folder socket"
	for _, id := range strings.Fields(hostile) {
		if l, err := records.Read(at(id)); !errors.Is(err, state.ErrDamaged) || !strings.Contains(err.Error(), path(id)) {
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
	for _, id := range strings.Fields(hostile) {
		if _, err := records.Lift(at(id)); !errors.Is(err, state.ErrDamaged) {
			t.Errorf("%s is lifted: %v", id, err)
		}
		if _, err := os.Lstat(filepath.Join(string(folder), ".damaged-"+at(id).Key())); err != nil {
			t.Errorf("%s is not set aside: %v", id, err)
		}
		if _, err := records.Lift(at(id)); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s is in the way: %v", id, err)
		}
	}
	if l, err := records.Lift(at("good")); err != nil || l.Owner != at("good") {
		t.Errorf("the good one: %+v %v", l, err)
	}
}

// TestAnotherUsersFile is not believed, and can be read all the same. In a user
// namespace of one user nobody can be given a file, and the machine's are another's.
func TestAnotherUsersFile(t *testing.T) {
	folder := state.Folder(t.TempDir())
	records := state.Records[lease]{Folder: folder}
	if err := records.Claim(lease{Owner: at("a")}); err != nil {
		t.Fatal(err)
	}
	foreign := filepath.Join(string(folder), at("a").Key())
	if os.Chown(foreign, os.Getuid()+1, -1) != nil {
		foreign = "/etc/passwd"
	} else if _, err := records.Read(at("a")); !errors.Is(err, state.ErrDamaged) || !strings.Contains(err.Error(), "belongs to the user") {
		t.Errorf("its record is believed: %v", err)
	}
	if _, err := state.ReadTrusted(foreign, 1<<20); os.Geteuid() == 0 && !errors.Is(err, state.ErrDamaged) {
		t.Errorf("%s is believed: %v", foreign, err)
	}
	if b, err := state.ReadFile(foreign, 1<<20); err != nil || len(b) == 0 {
		t.Errorf("%s cannot be read: %v", foreign, err)
	}
}
