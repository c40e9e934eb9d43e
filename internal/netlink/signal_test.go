package netlink_test

import (
	"testing"

	"golang.org/x/sys/unix"

	"github.com/catena-cni/catena/internal/kernel"
	"github.com/catena-cni/catena/internal/kerneltest"
	"github.com/catena-cni/catena/internal/netlink"
)

// TestSignals: signals do not end the wait for what the kernel says.
func TestSignals(t *testing.T) {
	k := kerneltest.New(t).Kernel()
	c, err := k.Dial(kernel.Host, unix.RTNLGRP_LINK)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if _, err := k.Conn(kernel.Host); err != nil { // in this thread's namespace
		t.Fatal(err)
	}
	var replies []netlink.Reply
	kerneltest.Interrupted(t, unix.SYS_RECVFROM, func() { replies, err = c.Receive() }, func() {
		if err := k.CreateLink(kernel.Host, "x", "veth", nil); err != nil {
			t.Error(err)
		}
	})
	if err != nil || len(replies) == 0 || replies[0].Type != unix.RTM_NEWLINK {
		t.Errorf("%v, %v", replies, err)
	}
}
