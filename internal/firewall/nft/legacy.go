package nft

import (
	"encoding/binary"
	"errors"
	"fmt"

	"golang.org/x/sys/unix"

	"github.com/catena-cni/catena/internal/cni"
	"github.com/catena-cni/catena/internal/firewall/xtables"
)

// legacy is one family of the kernel's older packet filter, which iptables-legacy
// speaks to. Its rules can be changed only all at once, which no two programs
// may do at a time: it is read, and left to its own program.
type legacy struct {
	six     bool
	family  uint8
	program string
	// targetOffset is where struct ipt_entry, or ip6t_entry, says where its
	// target begins.
	targetOffset int
}

var legacies = []legacy{
	{false, unix.NFPROTO_IPV4, "iptables-legacy", 88},
	{true, unix.NFPROTO_IPV6, "ip6tables-legacy", 140},
}

// legacyDrops is an error where the policy of the older packet filter is to drop
// what is forwarded, in a family that matters.
func legacyDrops(matters families) error {
	var errs []error
	for _, l := range legacies {
		if !matters.of(l.family) {
			continue
		}
		drops, err := l.drops()
		if err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", l.program, err))
		}
		if drops {
			err := fmt.Errorf("the policy of the chain FORWARD in the table filter of %s is DROP: it drops what is forwarded to pods", l.program)
			errs = append(errs, cni.Hint(err, `set the policy to ACCEPT ("`+l.program+` -P FORWARD ACCEPT"), or "backend": "iptables" in firewall's configuration`))
		}
	}
	return errors.Join(errs...)
}

const (
	underflows  = 32 + 24 // the offset in struct ipt_getinfo of the policies' entries, by hook
	targetSize  = 32      // struct xt_entry_target, before its verdict
	droppedCode = -1      // -NF_DROP - 1
)

// drops asks only where the table is in use: the question would make one.
func (l legacy) drops() (bool, error) {
	if !xtables.Present(l.six, "filter") {
		return false, nil
	}
	filter, err := xtables.Read(l.six, "filter")
	if err != nil {
		return false, err
	}
	policy := binary.NativeEndian.Uint32(filter.Info[underflows+4*unix.NF_INET_FORWARD:])
	return l.verdict(filter.Entries, int(policy)) == droppedCode, nil
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
