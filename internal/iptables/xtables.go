package iptables

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"slices"
	"strings"
	"unsafe"

	"golang.org/x/sys/unix"
)

// xtables are the tables of the older iptables in one family.
type xtables struct{ six bool }

// present reports whether the kernel has a table. To ask for it in any other way
// would bring it into being.
func (x xtables) present(table string) bool {
	names := map[bool]string{false: "ip_tables_names", true: "ip6_tables_names"}
	b, err := os.ReadFile("/proc/thread-self/net/" + names[x.six])
	return err == nil && slices.Contains(strings.Fields(string(b)), table)
}

// contains looks for a text in a table as the kernel has it: a chain's name, or
// a comment, ends or goes on there as it does here. No program is needed.
func (x xtables) contains(table, text string) (bool, error) {
	if !x.present(table) {
		return false, nil
	}
	b, err := x.read(table)
	if err != nil {
		return false, fmt.Errorf("%s table %s: %w", program(x.six, ""), table, err)
	}
	return bytes.Contains(b, []byte(text)), nil
}

// Numbers of linux/netfilter_ipv4/ip_tables.h, and of ip6_tables.h.
const (
	soGetInfo    = 64 // IPT_SO_GET_INFO
	soGetEntries = 65 // IPT_SO_GET_ENTRIES
	nameLen      = 32 // XT_TABLE_MAXNAMELEN
	infoLen      = 84 // struct ipt_getinfo, which ends in the size of the entries
)

// read takes the whole table out of the kernel.
func (x xtables) read(table string) ([]byte, error) {
	domain, level := unix.AF_INET, unix.IPPROTO_IP
	if x.six {
		domain, level = unix.AF_INET6, unix.IPPROTO_IPV6
	}
	fd, err := unix.Socket(domain, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.IPPROTO_RAW)
	if err != nil {
		return nil, err
	}
	defer unix.Close(fd)
	for range tries { // somebody may change the table in between
		info := make([]byte, infoLen)
		copy(info[:nameLen-1], table)
		if err := getsockopt(fd, level, soGetInfo, info); err != nil {
			return nil, err
		}
		size := binary.NativeEndian.Uint32(info[infoLen-4:])
		// The entries are aligned as the machine's 64-bit numbers are.
		for _, header := range []int{nameLen + 8, nameLen + 4} {
			b := make([]byte, header+int(size))
			copy(b[:nameLen-1], table)
			binary.NativeEndian.PutUint32(b[nameLen:], size)
			if err = getsockopt(fd, level, soGetEntries, b); err == nil {
				return b, nil
			}
		}
	}
	return nil, err
}

func getsockopt(fd, level, option int, b []byte) error {
	length := uint32(len(b))
	_, _, errno := unix.Syscall6(unix.SYS_GETSOCKOPT, uintptr(fd), uintptr(level), uintptr(option),
		uintptr(unsafe.Pointer(&b[0])), uintptr(unsafe.Pointer(&length)), 0)
	if errno != 0 {
		return errno
	}
	return nil
}

func (x xtables) has(table, chain string) (bool, error) { return x.contains(table, chain+"\x00") }

// tool is a program of the older iptables. Where it is the only one, it has no
// name of its own.
func (x xtables) tool(suffix, stdin string, args ...string) (string, error) {
	out, err := execute(program(x.six, "-legacy"+suffix), stdin, args...)
	if errors.Is(err, fs.ErrNotExist) {
		out, err = execute(program(x.six, suffix), stdin, args...)
	}
	return out, err
}

func (x xtables) change(table string, look func(view) (edits, error)) error {
	saved, err := x.tool("-save", "", "-t", table)
	if err != nil {
		return err
	}
	v := saving{}
	for l := range strings.Lines(saved) {
		words := unquote(strings.TrimSpace(l))
		switch {
		case len(words) > 1 && words[0] == "-A":
			v[words[1]] = append(v[words[1]], written(words))
		case strings.HasPrefix(l, ":"):
			v[words[0][1:]] = nil
		}
	}
	e, err := look(v)
	if err != nil {
		return err
	}
	var lines []string
	for _, r := range e.rules {
		lines = append(lines, line(append([]string{"-D"}, r.found.(written)[1:]...)...))
	}
	for _, chain := range e.chains {
		lines = append(lines, line("-F", chain), line("-X", chain))
	}
	if lines == nil {
		return nil
	}
	_, err = x.tool("-restore", "*"+table+"\n"+strings.Join(lines, "\n")+"\nCOMMIT\n", "--noflush", "-w", lockWait)
	return err
}

// saving is a table as iptables-save has written it.
type saving map[string][]found

func (s saving) has(chain string) (bool, error)      { _, ok := s[chain]; return ok, nil }
func (s saving) rules(chain string) ([]found, error) { return s[chain], nil }

// written is the words of a rule, from -A on.
type written []string

func (w written) after(options ...string) string {
	for i, word := range w[:len(w)-1] {
		if slices.Contains(options, word) {
			return w[i+1]
		}
	}
	return ""
}

func (w written) jump() string    { return w.after("-j", "-g") }
func (w written) comment() string { return w.after("--comment") }

func (w written) address(a netip.Addr) bool {
	return slices.Contains(w, netip.PrefixFrom(a, a.BitLen()).String())
}

func (w written) link(name string) bool { return slices.Contains(w, name) }
