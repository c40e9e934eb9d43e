package kerneltest

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"
)

// Ending tries an ADD of an attachment for whose former namespace nobody said DEL.
// Nobody can enter that any more, but it goes on for as long as something holds
// it, as a socket does for a grace period: the ADD waits for its end, by the
// events of a group (unix.RTNLGRP_*). prepare runs on the host before, and spoil
// when the former ADD has ended.
func Ending(t *testing.T, plugin, prepare, spoil, conf string, group uint) {
	bin := Build(t, "plugins/main/"+plugin, "plugins/ipam/static")
	s := New(t)
	s.Run(prepare)
	call := Call{Bin: bin, Plugin: plugin, Conf: conf}
	former := call
	former.Netns = filepath.Join(t.TempDir(), "former")
	s.NewPod(former.Netns)
	s.Must(former)
	held, err := os.Open(former.Netns)
	s.must(err)
	s.Run(spoil)
	s.Run("umount -l " + former.Netns + "; rm " + former.Netns)
	again := s.Begin(call)
	_, err = s.Try(fmt.Sprintf(`timeout 60 sh -c 'until grep -q " %08x " /proc/net/netlink; do :; done'`, 1<<(group-1))) // who listens
	held.Close()
	if a := again.Wait(); err != nil || a.Exit != 0 {
		t.Errorf("it has not waited (%v): %s %s", err, a.Msg, a.Details)
	}
}
