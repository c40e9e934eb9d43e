package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"regexp"
	"strings"

	"github.com/catena-cni/catena/internal/cni"
	"github.com/catena-cni/catena/internal/sysctl"
)

// allowlistFile is where an administrator says which settings may be changed.
const allowlistFile = "/etc/cni/tuning/allowlist.conf"

// allowlist reads the file: a regular expression a line. Where there is none,
// everything below net is allowed; an empty one allows nothing.
func allowlist() (allowed []*regexp.Regexp, exists bool, err error) {
	text, err := os.ReadFile(allowlistFile)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, false, nil
	}
	if err != nil {
		return nil, true, err
	}
	for line := range strings.SplitSeq(string(text), "\n") {
		if line = strings.TrimSpace(line); line == "" {
			continue
		}
		// The whole key must match: net.ipv4.ip_forward is not meant to allow
		// net.ipv4.ip_forward_use_pmtu.
		r, err := regexp.Compile("^(?:" + line + ")$")
		if err != nil {
			return nil, true, fmt.Errorf("%s: %w", allowlistFile, err)
		}
		allowed = append(allowed, r)
	}
	return allowed, true, nil
}

// permitted refuses settings that the administrator does not allow. A key may
// be written with dots or slashes on either side.
func permitted(pairs sysctl.Pairs) error {
	if len(pairs) == 0 {
		return nil
	}
	allowed, exists, err := allowlist()
	if err != nil || !exists {
		return err
	}
	for _, p := range pairs {
		if !matches(allowed, p.Key) && !matches(allowed, strings.ReplaceAll(p.Key, "/", ".")) {
			err := cni.Errorf(cni.CodeConfig, "sysctl %s is not allowed by %s", p.Key, allowlistFile)
			return cni.Hint(err, "add a line that matches the whole of it, or leave it out of the configuration")
		}
	}
	return nil
}

func matches(allowed []*regexp.Regexp, key string) bool {
	for _, r := range allowed {
		if r.MatchString(key) {
			return true
		}
	}
	return false
}
