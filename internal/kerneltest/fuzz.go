package kerneltest

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/catena-cni/catena/internal/cni"
	"github.com/catena-cni/catena/internal/state"
)

// errorMax is many times what a message has that can be read, in bytes.
const errorMax = 8 << 10

// Refused reports whether there is an error. It must be one that can be printed: in one
// line, not as long as its cause, and with one of the codes, where there are some.
func Refused(t testing.TB, err error, codes ...uint) bool {
	if err == nil {
		return false
	}
	t.Helper()
	e := cni.AsError(err)
	switch {
	case e.Msg == "" || strings.ContainsAny(e.Msg, "\n\r"):
		t.Errorf("the message is not one line: %q", e.Msg)
	case len(e.Msg)+len(e.Details) > errorMax:
		t.Errorf("a message of %d bytes: %.300q", len(e.Msg)+len(e.Details), e.Msg)
	case codes != nil && !slices.Contains(codes, e.Code):
		t.Errorf("code %d, which is none of %v: %q", e.Code, codes, e.Msg)
	}
	return true
}

// FuzzRecords reads files of any content as the record of an attachment, which some are
// examples of: one that is taken says the same when it is written and read again, and
// any other is damaged.
func FuzzRecords[T state.Record](f *testing.F, r state.Records[T], some ...T) {
	for _, record := range some {
		content, err := json.MarshalIndent(record, "", "  ")
		if err != nil {
			f.Fatal(err)
		}
		f.Add(content)
		f.Add(content[:len(content)/2])
	}
	for _, content := range []string{"", "null", "[]", "{}"} {
		f.Add([]byte(content))
	}
	r.Folder = state.Folder(f.TempDir())
	if err := r.Claim(some[0]); err != nil {
		f.Fatal(err)
	}
	keys, err := r.Folder.Keys()
	if err != nil || len(keys) != 1 {
		f.Fatal(keys, err)
	}
	f.Fuzz(func(t *testing.T, content []byte) {
		if err := r.Folder.Replace(keys[0], content); err != nil {
			t.Fatal(err)
		}
		all, damaged, err := r.All()
		if err != nil || len(all) > 1 || (len(all) == 0) != errors.Is(damaged, state.ErrDamaged) {
			t.Fatalf("%v %v %v", all, damaged, err)
		}
		record, err := r.Read(some[0].Of())
		if Refused(t, err) {
			if !errors.Is(err, state.ErrDamaged) {
				t.Errorf("it is not damaged: %v", err)
			}
			return
		}
		record.Abandoned()
		if err := r.Replace(record); err != nil {
			t.Fatal(err)
		}
		again, err := r.Read(some[0].Of())
		was, is := text(record), text(again)
		if err != nil || was != is {
			t.Errorf("written and read again: %v\n%s\nnot\n%s", err, is, was)
		}
	})
}

// text tells a list of none from no list no more than a record's file does.
func text(record any) string {
	b, err := json.Marshal(record)
	return fmt.Sprint(string(b), err)
}
