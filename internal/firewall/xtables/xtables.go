// Package xtables reads the tables of the kernel's older packet filter, which
// iptables-legacy speaks to, without a program. They can be changed only as a
// whole and under a lock of the programs', which is left to these.
package xtables

import (
	"encoding/binary"
	"fmt"
	"slices"
	"strings"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/catena-cni/catena/internal/file"
)

// Image is a table as the kernel has it.
type Image struct {
	// Info is struct ipt_getinfo (linux/netfilter_ipv4/ip_tables.h), which is the
	// same for IPv6.
	Info []byte
	// Entries are struct ipt_entry, or ip6t_entry, one behind the other.
	Entries []byte
}

// Present reports whether this network namespace has a table of IPv4 or IPv6.
// To ask for it in any other way would bring it into being.
func Present(six bool, table string) bool {
	names := map[bool]string{false: "ip_tables_names", true: "ip6_tables_names"}
	b, err := file.Read("/proc/thread-self/net/" + names[six])
	return err == nil && slices.Contains(strings.Fields(string(b)), table)
}

// Numbers of linux/netfilter_ipv4/ip_tables.h, and of ip6_tables.h.
const (
	soGetInfo    = 64 // IPT_SO_GET_INFO
	soGetEntries = 65 // IPT_SO_GET_ENTRIES
	nameLen      = 32 // XT_TABLE_MAXNAMELEN
	infoLen      = 84 // struct ipt_getinfo, which ends in the size of the entries
)

// tries bounds how often somebody may change the table while it is read.
const tries = 10

// Read takes a table that is present out of the kernel. It needs CAP_NET_ADMIN.
func Read(six bool, table string) (image Image, err error) {
	domain, level := unix.AF_INET, unix.IPPROTO_IP
	if six {
		domain, level = unix.AF_INET6, unix.IPPROTO_IPV6
	}
	fd, err := unix.Socket(domain, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.IPPROTO_RAW)
	if err != nil {
		return image, fmt.Errorf("table %s: %w", table, err)
	}
	defer unix.Close(fd)
	for range tries {
		info := make([]byte, infoLen)
		copy(info[:nameLen-1], table)
		if err := getsockopt(fd, level, soGetInfo, info); err != nil {
			return image, fmt.Errorf("table %s: %w", table, err)
		}
		size := binary.NativeEndian.Uint32(info[infoLen-4:])
		// The entries are aligned as the machine's 64-bit numbers are.
		for _, header := range []int{nameLen + 8, nameLen + 4} {
			b := make([]byte, header+int(size))
			copy(b[:nameLen-1], table)
			binary.NativeEndian.PutUint32(b[nameLen:], size)
			if err = getsockopt(fd, level, soGetEntries, b); err == nil {
				return Image{info, b[header:]}, nil
			}
		}
	}
	return image, fmt.Errorf("table %s: %w", table, err)
}

func getsockopt(fd, level, option int, b []byte) error {
	length := uint32(len(b))
	return file.Again(func() error {
		_, _, errno := unix.Syscall6(unix.SYS_GETSOCKOPT, uintptr(fd), uintptr(level), uintptr(option),
			uintptr(unsafe.Pointer(&b[0])), uintptr(unsafe.Pointer(&length)), 0)
		if errno != 0 {
			return errno
		}
		return nil
	})
}
