package main

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/catena-cni/catena/internal/kerneltest"
)

// TestPodThatIsEnding: a namespace that nobody can enter any more goes on for as long as something holds it, as a socket
// does for a grace period. An ADD of its attachment in a new one waits for its end.
func TestPodThatIsEnding(t *testing.T) {
	bin := kerneltest.Build(t, "plugins/main/bridge")
	s := kerneltest.New(t)
	call := kerneltest.Call{Bin: bin, Plugin: "bridge", Conf: `{"cniVersion":"1.1.0","name":"n","type":"bridge","bridge":"br0"}`}
	former := call
	former.Netns = filepath.Join(t.TempDir(), "former")
	s.NewPod(former.Netns)
	s.Must(former)
	held, err := os.Open(former.Netns)
	if err != nil {
		t.Fatal(err)
	}
	s.Run("umount -l " + former.Netns + "; rm " + former.Netns)
	again := s.Begin(call)
	_, err = s.Try(`timeout 60 sh -c 'until grep -q " 08000000 " /proc/net/netlink; do :; done'`) // who listens for namespaces (RTNLGRP_NSID)
	held.Close()
	if a := again.Wait(); err != nil || a.Exit != 0 {
		t.Errorf("it has not waited (%v): %s %s", err, a.Msg, a.Details)
	}
}
