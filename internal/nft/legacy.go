package nft

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"runtime"
	"slices"
	"strings"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/catena-cni/catena/internal/cni"
)

// legacy is one family of the kernel's older packet filter, which iptables-legacy
// speaks to. Its rules can be changed only all at once, which no two programs
// may do at a time: it is read, and left to its own program.
type legacy struct {
	family, level int
	program       string
	names         string // the file that lists the tables in use
	// targetOffset is where struct ipt_entry, or ip6t_entry, says where its
	// target begins.
	targetOffset int
}

var legacies = []legacy{
	{unix.AF_INET, unix.IPPROTO_IP, "iptables-legacy", "/proc/thread-self/net/ip_tables_names", 88},
	{unix.AF_INET6, unix.IPPROTO_IPV6, "ip6tables-legacy", "/proc/thread-self/net/ip6_tables_names", 140},
}

// legacyDrops is an error where the policy of the older packet filter is to drop
// what is forwarded, in a family that matters.
func legacyDrops(matters families) error {
	var errs []error
	for _, l := range legacies {
		if !matters.of(uint8(l.family)) { // AF_INET and NFPROTO_IPV4 are one number
			continue
		}
		drops, err := l.drops()
		if err != nil {
			errs = append(errs, fmt.Errorf("read the table filter of %s: %w", l.program, err))
		}
		if drops {
			err := fmt.Errorf("the policy of the chain FORWARD in the table filter of %s is DROP: it drops what is forwarded to pods", l.program)
			errs = append(errs, cni.Hint(err, `set the policy to ACCEPT ("`+l.program+` -P FORWARD ACCEPT"), or "backend": "iptables" in firewall's configuration`))
		}
	}
	return errors.Join(errs...)
}

// The questions of linux/netfilter_ipv4/ip_tables.h; those of IPv6 are the same.
const (
	getInfo    = 64 // IPT_SO_GET_INFO
	getEntries = 65 // IPT_SO_GET_ENTRIES

	nameSize   = 32            // XT_TABLE_MAXNAMELEN
	infoSize   = nameSize + 52 // struct ipt_getinfo
	underflows = nameSize + 24 // its offsets of the policies' entries, by hook
	totalSize  = nameSize + 48 // and the size of all entries

	targetSize  = 32 // struct xt_entry_target, before its verdict
	droppedCode = -1 // -NF_DROP - 1
)

// drops asks only where the table is in use: the question would make one.
func (l legacy) drops() (bool, error) {
	names, err := os.ReadFile(l.names)
	if err != nil || !slices.Contains(strings.Fields(string(names)), "filter") {
		return false, nil // without the file the kernel has no such filter
	}
	fd, err := unix.Socket(l.family, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.IPPROTO_RAW)
	if err != nil {
		return false, err
	}
	defer unix.Close(fd)
	for range tries {
		code, err := l.policy(fd)
		if !errors.Is(err, unix.EAGAIN) { // it has become larger in between
			return code == droppedCode, err
		}
	}
	return false, fmt.Errorf("it changed %d times while it was read", tries)
}

// policy is the verdict of the chain FORWARD on what none of its rules takes.
func (l legacy) policy(fd int) (int32, error) {
	info := make([]byte, infoSize)
	copy(info, "filter")
	if err := l.ask(fd, getInfo, info); err != nil {
		return 0, err
	}
	policy := binary.NativeEndian.Uint32(info[underflows+4*unix.NF_INET_FORWARD:])
	size := binary.NativeEndian.Uint32(info[totalSize:])

	head := nameSize + 8 // struct ipt_get_entries, whose entries are aligned
	if runtime.GOARCH == "386" {
		head = nameSize + 4
	}
	entries := make([]byte, head+int(size))
	copy(entries, "filter")
	binary.NativeEndian.PutUint32(entries[nameSize:], size)
	if err := l.ask(fd, getEntries, entries); err != nil {
		return 0, err
	}
	return l.verdict(entries[head:], int(policy)), nil
}

// verdict is that of the entry at an offset, 0 where there is none.
func (l legacy) verdict(entries []byte, at int) int32 {
	if at+l.targetOffset+2 > len(entries) {
		return 0
	}
	target := at + int(binary.NativeEndian.Uint16(entries[at+l.targetOffset:])) + targetSize
	if target+4 > len(entries) {
		return 0
	}
	return int32(binary.NativeEndian.Uint32(entries[target:]))
}

func (l legacy) ask(fd, question int, answer []byte) error {
	size := uint32(len(answer))
	_, _, e := unix.Syscall6(unix.SYS_GETSOCKOPT, uintptr(fd), uintptr(l.level), uintptr(question),
		uintptr(unsafe.Pointer(&answer[0])), uintptr(unsafe.Pointer(&size)), 0)
	if e != 0 {
		return e
	}
	return nil
}
