package kernel_test

import (
	"context"
	"errors"
	"io/fs"
	"net"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"

	"github.com/catena-cni/catena/internal/kernel"
	"github.com/catena-cni/catena/internal/kerneltest"
)

// TestHandles: each side's calls see that side alone, and a refusal has the
// kernel's own words.
func TestHandles(t *testing.T) {
	s := kerneltest.New(t)
	s.Run("ip link add hx type veth peer name px; ip link set px netns $POD")
	k := s.Kernel()
	for side, name := range map[kernel.Side]string{kernel.Host: "hx", kernel.Pod: "px"} {
		h, err := k.Handle(side)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := h.LinkByName(name); err != nil {
			t.Errorf("%v: %s: %v", side, name, err)
		}
		if again, _ := k.Handle(side); again != h {
			t.Errorf("%v: a second handle was opened", side)
		}
		got, err := k.Ask(side, unix.RTM_GETLINK, 0, nl.NewIfInfomsg(unix.AF_UNSPEC), kernel.Name(name))
		if err != nil || len(got) != 1 || !strings.Contains(string(got[0]), name) {
			t.Errorf("%v: %q %v", side, got, err)
		}
	}
	info := nl.NewRtAttr(unix.IFLA_LINKINFO, nil)
	info.AddRtAttr(nl.IFLA_INFO_KIND, nl.NonZeroTerminated("no-such-kind"))
	err := k.Change(kernel.Pod, unix.RTM_NEWLINK, unix.NLM_F_CREATE|unix.NLM_F_EXCL, nl.NewIfInfomsg(unix.AF_UNSPEC), info)
	if !errors.Is(err, unix.EOPNOTSUPP) || !strings.Contains(err.Error(), "Unknown device type") {
		t.Errorf("the refusal is %v", err)
	}
}

// TestList: a list that was torn is asked for again, and one that stays so is an
// error without a list.
func TestList(t *testing.T) {
	for torn, want := range map[int]error{0: nil, 3: nil, 99: netlink.ErrDumpInterrupted} {
		calls := 0
		got, err := kernel.List(func() ([]int, error) {
			if calls++; calls <= torn {
				return []int{calls}, netlink.ErrDumpInterrupted
			}
			return []int{calls}, nil
		})
		if !errors.Is(err, want) || (want == nil) != (len(got) == 1 && got[0] == torn+1) {
			t.Errorf("torn %d times: %v %v", torn, got, err)
		}
	}
}

// TestAwait: an event has it look again, and it ends.
func TestAwait(t *testing.T) {
	s := kerneltest.New(t)
	k := s.Kernel()
	looks := 0
	look := func() (bool, error) {
		looks++
		if looks == 1 {
			s.Run("ip link add hx type veth peer name px")
		}
		_, err := k.Link(kernel.Host, "hx")
		return looks > 1, err
	}
	if err := k.Await(t.Context(), kernel.Host, unix.RTNLGRP_LINK, time.Minute, look); err != nil || looks < 2 {
		t.Errorf("after %d looks: %v", looks, err)
	}
	never := func() (bool, error) { return false, nil }
	if err := k.Await(t.Context(), kernel.Pod, unix.RTNLGRP_LINK, time.Millisecond, never); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("the time is over: %v", err)
	}
	failing := func() (bool, error) { return false, unix.EBUSY }
	ended, end := context.WithCancel(t.Context())
	time.AfterFunc(time.Millisecond, end)
	if err := k.Await(ended, kernel.Pod, unix.RTNLGRP_LINK, time.Hour, never); !errors.Is(err, context.Canceled) {
		t.Errorf("nobody waits any more: %v", err)
	}
	if err := k.Await(t.Context(), kernel.Pod, unix.RTNLGRP_LINK, time.Minute, failing); !errors.Is(err, unix.EBUSY) {
		t.Errorf("a look that fails: %v", err)
	}
}

// TestCall: what a typed call is refused for is told in the kernel's words, on
// either side, and what is there already is an error that is told apart.
func TestCall(t *testing.T) {
	s := kerneltest.New(t)
	s.Run("ip link set lo up; pod ip link set lo up")
	k := s.Kernel()
	dst := &net.IPNet{IP: net.IPv4(10, 9, 0, 0).To4(), Mask: net.CIDRMask(16, 32)}
	for _, side := range []kernel.Side{kernel.Host, kernel.Pod} {
		add := func(gateway net.IP) error {
			return k.Call(side, func(h *netlink.Handle) error {
				return h.RouteAdd(&netlink.Route{Dst: dst, Gw: gateway, LinkIndex: 1})
			})
		}
		if err := add(net.IPv4(192, 0, 2, 1)); !errors.Is(err, unix.ENETUNREACH) || !strings.Contains(err.Error(), "invalid gateway") {
			t.Errorf("%v: %v", side, err)
		}
		if err := add(nil); err != nil {
			t.Errorf("%v: %v", side, err)
		}
		if err := add(nil); !errors.Is(err, fs.ErrExist) {
			t.Errorf("%v: %v", side, err)
		}
	}
	if have := s.Run("ip route show; pod ip route show"); strings.Count(have, "10.9.0.0/16") != 2 {
		t.Errorf("the routes are\n%s", have)
	}
}
