package strace

import (
	"fmt"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// Calls is what programs have asked of the kernel.
type Calls struct {
	// Programs are the names of those that were executed, sorted.
	Programs []string
	// Requests are the messages that were sent to the kernel by netlink.
	Requests map[Request]int
	// Syncs is how often files were to be written to the disk at once.
	Syncs int
}

// Request is a kind of message to the kernel.
type Request struct {
	Family int // of the socket, unix.NETLINK_*
	Type   uint16
	Dump   bool // asks for a list
}

// unlocked are the requests to rtnetlink that the kernel serves without its lock for all of the network's configuration,
// the RTNL (RTNL_FLAG_DOIT_UNLOCKED in net/ipv4/route.c, net/ipv4/devinet.c, net/core/net_namespace.c and
// net/ipv6/addrlabel.c).
var unlocked = []uint16{
	unix.RTM_GETROUTE, unix.RTM_GETNETCONF, unix.RTM_NEWNSID, unix.RTM_GETNSID,
	unix.RTM_NEWADDRLABEL, unix.RTM_DELADDRLABEL, unix.RTM_GETADDRLABEL,
}

// RTNL is the number of requests that hold the RTNL, lists not counted.
func (c Calls) RTNL() int {
	return c.sum(func(r Request) bool {
		return r.Family == unix.NETLINK_ROUTE && !r.Dump && !slices.Contains(unlocked, r.Type)
	})
}

// Nftables is the number of messages to nftables, lists not counted, nor the beginning and the end of a batch.
func (c Calls) Nftables() int {
	return c.sum(func(r Request) bool {
		return r.Family == unix.NETLINK_NETFILTER && !r.Dump && r.Type>>8 == unix.NFNL_SUBSYS_NFTABLES
	})
}

// Dumps is the number of lists that were asked for.
func (c Calls) Dumps() int { return c.sum(func(r Request) bool { return r.Dump }) }

func (c Calls) sum(of func(Request) bool) (n int) {
	for r, times := range c.Requests {
		if of(r) {
			n += times
		}
	}
	return n
}

var (
	attached = regexp.MustCompile(`^strace: Process \d+ attached`)
	executed = regexp.MustCompile(`^execve(?:at)?\([^"]*"([^"]*)".* = 0$`)
	opened   = regexp.MustCompile(`^socket\((0x[0-9a-f]+|\d+), [^,]*, (0x[0-9a-f]+|\d+)\) += \d+<[^>]*\[(\d+)\]>`)
	sent     = regexp.MustCompile(`^(?:write|writev|sendto|sendmsg|sendmmsg)\(\d+<[^>]*\[(\d+)\]>`)
	message  = regexp.MustCompile(`\{nlmsg_len=\d+, nlmsg_type=([^,]+), nlmsg_flags=([^,]+),`)
	synced   = regexp.MustCompile(`^(?:fsync|fdatasync|syncfs|sync_file_range|sync)\(`)
)

// parse counts what stands in the texts that strace writes of threads. A socket may be opened by one thread and used by
// another.
func parse(threads []string) (Calls, error) {
	families := map[string]int{} // of sockets, by inode
	for _, text := range threads {
		for line := range strings.Lines(text) {
			m := opened.FindStringSubmatch(line)
			if m == nil {
				continue
			}
			domain, derr := number(m[1])
			family, err := number(m[2])
			if derr == nil && err == nil && domain == unix.AF_NETLINK {
				families[m[3]] = family
			}
		}
	}
	calls := Calls{Requests: map[Request]int{}}
	for _, text := range threads {
		for line := range strings.Lines(text) {
			if err := calls.count(strings.TrimSuffix(line, "\n"), families); err != nil {
				return Calls{}, fmt.Errorf("%w: %s", err, line)
			}
		}
	}
	slices.Sort(calls.Programs)
	return calls, nil
}

func (c *Calls) count(line string, families map[string]int) error {
	if m := executed.FindStringSubmatch(line); m != nil {
		c.Programs = append(c.Programs, filepath.Base(m[1]))
	}
	if synced.MatchString(line) {
		c.Syncs++
	}
	socket := sent.FindStringSubmatch(line)
	if socket == nil {
		return nil
	}
	for _, m := range message.FindAllStringSubmatch(line, -1) {
		family, known := families[socket[1]]
		if !known {
			return fmt.Errorf("nothing shows of what family the socket %s is", socket[1])
		}
		kind, err := number(m[1])
		if err != nil {
			return err
		}
		flags, err := number(m[2])
		if err != nil {
			return err
		}
		c.Requests[Request{Family: family, Type: uint16(kind), Dump: flags&unix.NLM_F_DUMP == unix.NLM_F_DUMP}]++
	}
	return nil
}

// number reads what strace writes for a constant, such as 0x605, 0x1|0x300 or 0xa<<8|0x10.
func number(text string) (n int, err error) {
	for part := range strings.SplitSeq(text, "|") {
		value, shift, shifted := strings.Cut(part, "<<")
		v, err := strconv.ParseInt(value, 0, 32)
		if err != nil {
			return 0, err
		}
		if shifted {
			by, err := strconv.ParseUint(shift, 0, 5)
			if err != nil {
				return 0, err
			}
			v <<= by
		}
		n |= int(v)
	}
	return n, nil
}
