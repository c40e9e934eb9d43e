package main

import (
	"debug/buildinfo"
	"fmt"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"

	"golang.org/x/sys/unix"
)

// about is a line of what was measured, and on what. What cannot be found out is left out.
func about(o options) string {
	words := []string{fmt.Sprintf("%d processors", runtime.NumCPU())}
	var system unix.Utsname
	if unix.Uname(&system) == nil {
		words = append(words, "kernel "+unix.ByteSliceToString(system.Release[:]))
	}
	words = append(words, "ours"+program(o.ours), "upstream's"+program(o.theirs))
	return strings.Join(words, "; ")
}

// versioned finds the version in the name of the folder that upstream's plugins are built into, who do not know it.
var versioned = regexp.MustCompile(`v\d+\.\d+\.\d+`)

// program is the version that a folder's bridge gives when it is run by hand, and that of Go that it was built with.
func program(folder string) (text string) {
	path := filepath.Join(folder, "bridge")
	cmd := exec.Command(path)
	cmd.Env = []string{}
	if said, err := cmd.CombinedOutput(); err == nil {
		first, _, _ := strings.Cut(string(said), "\n")
		if words := strings.Fields(first); len(words) > 0 {
			text = " " + words[len(words)-1]
		}
	}
	if v := versioned.FindString(folder); v != "" && (text == "" || text == " unknown") {
		text = " " + v
	}
	if info, err := buildinfo.ReadFile(path); err == nil {
		text += " (" + info.GoVersion + ")"
	}
	return text
}
