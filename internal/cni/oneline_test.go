package cni

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
	"testing"
	"unicode/utf8"
)

// TestOneLine: a message says each thing once, in one line.
func TestOneLine(t *testing.T) {
	_, noFile := os.Open("/nowhere")
	for _, row := range []struct {
		err  error
		code uint
		want string
	}{
		{fmt.Errorf("link up0: there is none: %w", fs.ErrNotExist), CodeMissing, "link up0: there is none"},
		{fmt.Errorf("port 80 is held by n/a/eth0: %w", fs.ErrExist), CodeExists, "port 80 is held by n/a/eth0"},
		{fmt.Errorf("lease: %w", noFile), CodeMissing, "lease: open /nowhere: no such file or directory"},
		{errors.Join(errors.New("a is missing"), fmt.Errorf("b: %w", fs.ErrNotExist)), CodeMissing, "a is missing; b"},
		{errors.Join(errors.New("find plugin x"), errors.New("find plugin x")), CodeFailed, "find plugin x"},
		{errors.New("the other plugin says: file already exists"), CodeFailed, "the other plugin says: file already exists"},
	} {
		if e := AsError(row.err); e.Msg != row.want || e.Code != row.code {
			t.Errorf("%d %q; want %d %q", e.Code, e.Msg, row.code, row.want)
		}
	}
}

// TestLongText: an error repeats a long input only cut, and keeps its cause.
func TestLongText(t *testing.T) {
	err := fmt.Errorf("the key %s: %w", strings.Repeat("é", 1<<20), fs.ErrPermission)
	text := string(PrintError(strings.Repeat("1", 1<<20), Hint(err, strings.Repeat("h", 1<<20))))
	if len(text) > 3*textMax || !utf8.ValidString(text) {
		t.Errorf("%d bytes", len(text))
	}
	e := AsError(err)
	if !strings.HasPrefix(e.Msg, "the key é") || !strings.HasSuffix(e.Msg, ": "+fs.ErrPermission.Error()) || e.Code != CodePermission {
		t.Errorf("%d %s", e.Code, e.Msg)
	}
}
