package builtin

import (
	"debug/buildinfo"
	"os"
	"reflect"
	"runtime/debug"
	"strings"
)

// sameBuild reports whether a file is a program of the build that this one is
// of, and may be executed: of the same sources, by what Go recorded of git's
// revision, and with the same options. A build of sources that were changed since
// their commit, or came without git, is nobody else's. The look costs 0.1 ms of
// the 1 ms that a start of the program would.
func sameBuild(path string) bool {
	st, err := os.Stat(path)
	if err != nil || !st.Mode().IsRegular() || st.Mode()&0o111 == 0 {
		return false
	}
	own, known := debug.ReadBuildInfo()
	if !known || !committed(own) {
		return false
	}
	other, err := buildinfo.ReadFile(path)
	return err == nil && own.Main == other.Main && own.GoVersion == other.GoVersion && reflect.DeepEqual(own.Settings, other.Settings)
}

// committed reports whether the sources are those of one revision.
func committed(b *debug.BuildInfo) bool {
	var revision, changed string
	for _, s := range b.Settings {
		switch s.Key {
		case "vcs.revision":
			revision = s.Value
		case "vcs.modified":
			changed = s.Value
		}
	}
	return revision != "" && changed == "false" && !strings.HasSuffix(b.Main.Version, "+dirty")
}
