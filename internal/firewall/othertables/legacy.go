package othertables

import (
	"encoding/binary"
	"fmt"
	"os"
	"slices"
	"strings"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/catena-cni/catena/internal/retry"
)

// Legacy is a table of the kernel's older packet filter, which iptables-legacy
// speaks to. It can be changed only as a whole and under a lock of the programs',
// which is left to these.
type Legacy struct {
	// Info is struct ipt_getinfo (linux/netfilter_ipv4/ip_tables.h), which is the
	// same for IPv6.
	Info []byte
	// Entries are struct ipt_entry, or ip6t_entry, one behind the other.
	Entries []byte
}

// Numbers of linux/netfilter_ipv4/ip_tables.h, and of ip6_tables.h.
const (
	soGetInfo    = 64 // IPT_SO_GET_INFO
	soGetEntries = 65 // IPT_SO_GET_ENTRIES
	nameLen      = 32 // XT_TABLE_MAXNAMELEN
	infoLen      = 84 // struct ipt_getinfo, which ends in the size of the entries
)

// legacyTries bounds how often somebody may change the table while it is read.
const legacyTries = 10

// ReadLegacy takes a table out of the kernel, which needs CAP_NET_ADMIN. It is nothing
// where this network namespace has no such table: to ask for one in any other way
// than by the list of names would bring it into being.
func ReadLegacy(six bool, table string) (t Legacy, err error) {
	names, domain, level := "ip_tables_names", unix.AF_INET, unix.IPPROTO_IP
	if six {
		names, domain, level = "ip6_tables_names", unix.AF_INET6, unix.IPPROTO_IPV6
	}
	present, err := os.ReadFile("/proc/thread-self/net/" + names)
	if err != nil || !slices.Contains(strings.Fields(string(present)), table) {
		return t, nil
	}
	fd, err := unix.Socket(domain, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.IPPROTO_RAW)
	if err == nil {
		defer unix.Close(fd)
		t, err = readLegacy(fd, level, table)
	}
	if err != nil {
		return t, fmt.Errorf("table %s of iptables-legacy: %w", table, err)
	}
	return t, nil
}

func readLegacy(fd, level int, table string) (t Legacy, err error) {
	for range legacyTries {
		info := make([]byte, infoLen)
		copy(info[:nameLen-1], table)
		if err := getsockopt(fd, level, soGetInfo, info); err != nil {
			return t, err
		}
		size := binary.NativeEndian.Uint32(info[infoLen-4:])
		// The entries are aligned as the machine's 64-bit numbers are.
		for _, header := range []int{nameLen + 8, nameLen + 4} {
			b := make([]byte, header+int(size))
			copy(b[:nameLen-1], table)
			binary.NativeEndian.PutUint32(b[nameLen:], size)
			if err = getsockopt(fd, level, soGetEntries, b); err == nil {
				return Legacy{info, b[header:]}, nil
			}
		}
	}
	return t, err
}

func getsockopt(fd, level, option int, b []byte) error {
	length := uint32(len(b))
	return retry.Do(func() error {
		_, _, errno := unix.Syscall6(unix.SYS_GETSOCKOPT, uintptr(fd), uintptr(level), uintptr(option),
			uintptr(unsafe.Pointer(&b[0])), uintptr(unsafe.Pointer(&length)), 0)
		if errno != 0 {
			return errno
		}
		return nil
	})
}
