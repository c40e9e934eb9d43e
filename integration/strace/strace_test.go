package strace

import (
	"maps"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/catena-cni/catena/internal/kerneltest"
)

func TestMain(m *testing.M) { kerneltest.Main(m) }

// What strace 6.1 has written, of threads of their own.
const (
	// ip link set lo up; ip netns list-id; ip route get 127.0.0.1
	iproute = `execve("/usr/sbin/ip", ["ip", "link", "set", "lo", "up"], 0x560e34ccaf28 /* 35 vars */) = 0
socket(0x10, 0x3|0x80000, 0)            = 3<socket:[16990528]>
sendto(3<socket:[16990528]>, [{nlmsg_len=32, nlmsg_type=0x10, nlmsg_flags=0x5, nlmsg_seq=0, nlmsg_pid=0}, {ifi_family=0, ifi_type=0, ifi_index=0, ifi_flags=0, ifi_change=0}], 32, 0, NULL, 0) = 32
socket(0x10, 0x3|0x80000, 0)            = 4<socket:[16990529]>
sendmsg(4<socket:[16990529]>, {msg_name={sa_family=0x10, nl_pid=0, nl_groups=00000000}, msg_namelen=12, msg_iov=[{iov_base=[{nlmsg_len=48, nlmsg_type=0x12, nlmsg_flags=0x1, nlmsg_seq=1795247712, nlmsg_pid=0}, {ifi_family=0, ifi_type=0, ifi_index=0, ifi_flags=0, ifi_change=0}, [[{nla_len=8, nla_type=0x1d}, 0x9], [{nla_len=7, nla_type=0x3}, "lo"]]], iov_len=48}], msg_iovlen=1, msg_controllen=0, msg_flags=0}, 0) = 48
sendto(3<socket:[16990528]>, [{nlmsg_len=20, nlmsg_type=0x5a, nlmsg_flags=0x301, nlmsg_seq=1795247712, nlmsg_pid=0}, {rtgen_family=0}], 20, 0, NULL, 0) = 20
sendmsg(3<socket:[16990528]>, {msg_name={sa_family=0x10, nl_pid=0, nl_groups=00000000}, msg_namelen=12, msg_iov=[{iov_base=[{nlmsg_len=36, nlmsg_type=0x1a, nlmsg_flags=0x1, nlmsg_seq=1795247712, nlmsg_pid=0}, {rtm_family=0x2, rtm_dst_len=32, rtm_src_len=0, rtm_tos=0, rtm_table=0, rtm_protocol=0, rtm_scope=0, rtm_type=0, rtm_flags=0x1000}, [{nla_len=8, nla_type=0x1}, "\x7f\x00\x00\x01"]], iov_len=36}], msg_iovlen=1, msg_controllen=0, msg_flags=0}, 0) = 36
write(1</tmp/out>, "local 127.0.0.1 dev lo src 127.0"..., 63) = 63
+++ exited with 0 +++
`
	// nft add table inet x; nft list tables
	nft = `execve("/usr/sbin/nft", ["nft", "add", "table", "inet", "x"], 0x560e34ccaf28 /* 35 vars */) = 0
socket(0x10, 0x3, 0xc)                  = 3<socket:[16459397]>
sendto(3<socket:[16459397]>, [{nlmsg_len=20, nlmsg_type=0xa10, nlmsg_flags=0x1, nlmsg_seq=0, nlmsg_pid=0}, "\x00\x00\x00\x00"], 20, 0, {sa_family=0x10, nl_pid=0, nl_groups=00000000}, 12) = 20
sendmsg(3<socket:[16459397]>, {msg_name={sa_family=0x10, nl_pid=0, nl_groups=00000000}, msg_namelen=12, msg_iov=[{iov_base=[[{nlmsg_len=20, nlmsg_type=0x10, nlmsg_flags=0x1, nlmsg_seq=0, nlmsg_pid=0}, {nfgen_family=0, version=0, res_id=htons(10)}], [{nlmsg_len=36, nlmsg_type=0xa<<8|0, nlmsg_flags=0x1, nlmsg_seq=1, nlmsg_pid=0}, {nfgen_family=0x1, version=0, res_id=htons(0)}, [[{nla_len=6, nla_type=0x1}, "\x78\x00"], [{nla_len=8, nla_type=0x2}, "\x00\x00\x00\x00"]]], [{nlmsg_len=20, nlmsg_type=0x11, nlmsg_flags=0x1, nlmsg_seq=2, nlmsg_pid=0}, {nfgen_family=0, version=0, res_id=htons(10)}]], iov_len=76}], msg_iovlen=1, msg_controllen=0, msg_flags=0}, 0) = 76
sendto(3<socket:[16459397]>, [{nlmsg_len=20, nlmsg_type=0xa<<8|0x1, nlmsg_flags=0x301, nlmsg_seq=0, nlmsg_pid=0}, {nfgen_family=0, version=0, res_id=htons(0)}], 20, 0, {sa_family=0x10, nl_pid=0, nl_groups=00000000}, 12) = 20
+++ exited with 0 +++
`
	// A plugin in a network namespace that is not strace's; its socket is another thread's.
	foreign = `sendto(7<socket:[16990556]>, [{nlmsg_len=32, nlmsg_type=0x10, nlmsg_flags=0x605, nlmsg_seq=2, nlmsg_pid=0}, "\x00\x00\x00\x00\x01\x00\x00\x00\x01\x00\x00\x00\x01\x00\x00\x00"], 32, 0, {sa_family=0x10, nl_pid=0, nl_groups=00000000}, 12) = 32
+++ exited with 0 +++
`
	opener = `socket(0x10, 0x3|0x80000, 0)            = 7<socket:[16990556]>
socket(0x1, 0x1, 0)                     = 8<socket:[16990557]>
+++ exited with 0 +++
`
	searching = `execve("/usr/local/sbin/nosuch", ["nosuch"], 0x7ffeccaf5660 /* 35 vars */) = -1 ENOENT (No such file or directory)
execve("/usr/sbin/nosuch", ["nosuch"], 0x7ffeccaf5660 /* 35 vars */) = -1 ENOENT (No such file or directory)
fsync(3</tmp/bw/tuning>)                = 0
fdatasync(3</tmp/bw/tuning>)            = 0
sync()                                  = 0
write(1</tmp/out>, "execve(\"/bin/sh\", [], 0x1) = 0 f"..., 63) = 63
`
)

func TestParse(t *testing.T) {
	calls, err := parse([]string{iproute, nft, foreign, opener, searching})
	if err != nil {
		t.Fatal(err)
	}
	if want := []string{"ip", "nft"}; !slices.Equal(calls.Programs, want) {
		t.Errorf("executed %v, not %v", calls.Programs, want)
	}
	want := map[Request]int{
		{Family: unix.NETLINK_ROUTE, Type: unix.RTM_NEWLINK}:             2,
		{Family: unix.NETLINK_ROUTE, Type: unix.RTM_GETLINK}:             1,
		{Family: unix.NETLINK_ROUTE, Type: unix.RTM_GETROUTE}:            1,
		{Family: unix.NETLINK_ROUTE, Type: unix.RTM_GETNSID, Dump: true}: 1,
		{Family: unix.NETLINK_NETFILTER, Type: 0xa10}:                    1,
		{Family: unix.NETLINK_NETFILTER, Type: 0xa00}:                    1,
		{Family: unix.NETLINK_NETFILTER, Type: 0x10}:                     1,
		{Family: unix.NETLINK_NETFILTER, Type: 0x11}:                     1,
		{Family: unix.NETLINK_NETFILTER, Type: 0xa01, Dump: true}:        1,
	}
	if !maps.Equal(calls.Requests, want) {
		t.Errorf("got  %+v\nwant %+v", calls.Requests, want)
	}
	got := []int{calls.RTNL(), calls.Nftables(), calls.Dumps(), calls.Syncs}
	if want := []int{3, 2, 2, 3}; !slices.Equal(got, want) {
		t.Errorf("RTNL, nftables, lists and syncs: %v, not %v", got, want)
	}
}

// TestParseUnknown: a socket that was there before says nothing of its family, and is no reason to guess.
func TestParseUnknown(t *testing.T) {
	if calls, err := parse([]string{foreign}); err == nil || !strings.Contains(err.Error(), "16990556") {
		t.Errorf("%+v, %v", calls, err)
	}
	if calls, err := parse([]string{opener, strings.Replace(foreign, "=0x10,", "=RTM_NEWLINK,", 1)}); err == nil {
		t.Errorf("a name in place of a number: %+v", calls)
	}
}

// TestRecord watches this program: a message in a network namespace of its own, and what a program does that it executes.
func TestRecord(t *testing.T) {
	kerneltest.NeedsPrograms(t, "strace", "ip")
	kerneltest.NeedsNamespaces(t)
	calls, err := Record(func() error {
		out, err := exec.Command("unshare", "--net", "ip", "link", "set", "lo", "up").CombinedOutput()
		if err != nil {
			t.Logf("%s", out)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	if want := []string{"ip", "unshare"}; !slices.Equal(calls.Programs, want) {
		t.Errorf("executed %v, not %v", calls.Programs, want)
	}
	if calls.Requests[Request{Family: unix.NETLINK_ROUTE, Type: unix.RTM_NEWLINK}] == 0 {
		t.Errorf("no message was seen: %+v", calls.Requests)
	}
	if _, err := Record(func() error { return os.ErrPermission }); err == nil {
		t.Error("what goes wrong meanwhile is lost")
	}
}
