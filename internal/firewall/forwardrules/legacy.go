package forwardrules

import (
	"encoding/binary"
	"errors"
	"fmt"

	"golang.org/x/sys/unix"

	"github.com/catena-cni/catena/internal/cni"
	"github.com/catena-cni/catena/internal/firewall/nft/wire"
	"github.com/catena-cni/catena/internal/firewall/othertables"
)

// legacyPolicies is an error where the policy of iptables-legacy, which speaks to
// the kernel's older packet filter, is to drop what is forwarded. Its rules can be
// changed only all at once, which no two programs may do at a time: they are read,
// and left to their own program.
func legacyPolicies(wanted Families) error {
	var errs []error
	if wanted.V4 {
		errs = append(errs, legacyPolicy(false, "iptables-legacy", 88))
	}
	if wanted.V6 {
		errs = append(errs, legacyPolicy(true, "ip6tables-legacy", 140))
	}
	return errors.Join(errs...)
}

// legacyPolicy is nothing where the table is not in use.
// The offset is where struct ipt_entry, or ip6t_entry, says where its target
// begins.
func legacyPolicy(six bool, program string, offset int) error {
	filter, err := othertables.ReadLegacy(six, "filter")
	if err != nil {
		return fmt.Errorf("%s: %w", program, err)
	}
	if filter.Info == nil {
		return nil
	}
	const underflows = 32 + 24 // in struct ipt_getinfo, of the policies' entries by hook
	policy := binary.NativeEndian.Uint32(filter.Info[underflows+4*unix.NF_INET_FORWARD:])
	if legacyVerdict(filter.Entries, int(policy), offset) != -wire.VerdictDrop-1 {
		return nil
	}
	err = fmt.Errorf("the policy of the chain FORWARD in the table filter of %s is DROP: it drops what is forwarded to pods", program)
	return cni.Hint(err, `set the policy to ACCEPT ("`+program+` -P FORWARD ACCEPT"), or "backend": "iptables" in firewall's configuration`)
}

// legacyVerdict is that of the entry at a place, 0 where there is none.
func legacyVerdict(entries []byte, entry, offset int) int32 {
	const targetSize = 32 // struct xt_entry_target, before its verdict
	if entry+offset+2 > len(entries) {
		return 0
	}
	verdict := entry + int(binary.NativeEndian.Uint16(entries[entry+offset:])) + targetSize
	if verdict+4 > len(entries) {
		return 0
	}
	return int32(binary.NativeEndian.Uint32(entries[verdict:]))
}
