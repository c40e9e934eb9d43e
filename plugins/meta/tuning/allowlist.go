package main

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"regexp"
	"slices"
	"strings"

	"github.com/catena-cni/catena/internal/cni"
	"github.com/catena-cni/catena/internal/state"
)

// allowlistFile is where an administrator says which settings may be changed.
const allowlistFile = "/etc/cni/tuning/allowlist.conf"

// allowlistMax is many times what a list has, in bytes.
const allowlistMax = 1 << 20

// allowlist reads the file: a regular expression a line. Where there is none,
// everything below net is allowed; an empty one allows nothing.
func allowlist() (allowed []*regexp.Regexp, exists bool, err error) {
	text, err := state.ReadTrusted(allowlistFile, allowlistMax)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, false, nil
	case errors.Is(err, state.ErrDamaged):
		return nil, true, err
	case err != nil:
		return nil, true, cni.WithCode(cni.CodeIO, err) // which is not the configuration's fault
	}
	allowed, err = parseAllowlist(string(text))
	return allowed, true, err
}

func parseAllowlist(text string) (allowed []*regexp.Regexp, err error) {
	n := 0
	for line := range strings.SplitSeq(text, "\n") {
		n++
		if line = strings.TrimSpace(line); line == "" {
			continue
		}
		// By itself first: a bracket of the line's must not match one of ours.
		if _, bad := regexp.Compile(line); bad != nil {
			err = errors.Join(err, fmt.Errorf("%s line %d: %w", allowlistFile, n, bad))
			continue
		}
		// The whole key must match: net.ipv4.ip_forward is not meant to allow
		// net.ipv4.ip_forward_use_pmtu.
		allowed = append(allowed, regexp.MustCompile("^(?:"+line+")$"))
	}
	return allowed, cni.Hint(err, "each line is a regular expression of Go's (RE2) for the names of sysctls that may be set")
}

// permitted refuses settings that the administrator does not allow.
func (c *Conf) permitted(ifname string) error {
	if len(c.pairs) == 0 {
		return nil
	}
	allowed, exists, err := allowlist()
	if err != nil || !exists {
		return err
	}
	for _, m := range []map[string]string{c.Sysctl, c.CNIArgs.CNI.Sysctl} {
		for _, written := range slices.Sorted(maps.Keys(m)) {
			if !matches(allowed, written, ifname) {
				err := cni.Errorf(cni.CodeConfig, "sysctl %s is not allowed by %s", written, allowlistFile)
				return cni.Hint(err, "add a line that matches the whole of it, or leave it out of the configuration")
			}
		}
	}
	return nil
}

// matches looks for a key in each of its spellings: with the word IFNAME, as
// upstream holds it against the file, and with the interface's name; with dots
// and with slashes.
func matches(allowed []*regexp.Regexp, written, ifname string) bool {
	var spellings []string
	for _, name := range []string{"IFNAME", ifname} {
		key, err := path(written, name)
		if err != nil {
			return false
		}
		spellings = append(spellings, key, strings.ReplaceAll(key, "/", "."))
	}
	return slices.ContainsFunc(allowed, func(r *regexp.Regexp) bool {
		return slices.ContainsFunc(spellings, r.MatchString)
	})
}
