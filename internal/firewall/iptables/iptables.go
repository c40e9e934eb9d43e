// Package iptables is the facts of the explicit iptables backend: upstream's
// chains, rules and comments, so that either suite's DEL finds what the other
// has made.
//
// It stands on go-iptables, which runs a program for each rule. Whether there is
// something to remove the kernel is asked without a program, so a Del runs none
// where iptables was never used.
package iptables

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	goiptables "github.com/coreos/go-iptables/iptables"

	"github.com/catena-cni/catena/internal/cni"
	"github.com/catena-cni/catena/internal/state/name"
)

// Chains that upstream's plugins make, and prefixes of those of one attachment.
const (
	prefixMasquerade = "CNI-"
	prefixPorts      = "CNI-DN-"
	prefixOldSNAT    = "CNI-SN-"

	chainPorts   = "CNI-HOSTPORT-DNAT"
	chainSetMark = "CNI-HOSTPORT-SETMARK"
	chainMasq    = "CNI-HOSTPORT-MASQ"
	chainOldSNAT = "CNI-HOSTPORT-SNAT"
	chainForward = "CNI-FORWARD"
	chainStage1  = "CNI-ISOLATION-STAGE-1"
	chainStage2  = "CNI-ISOLATION-STAGE-2"
)

// label is what an attachment's comments say: all of a network's begin alike.
func label(at name.Attachment) string {
	return networkLabel(at.Network) + fmt.Sprintf(" id: %q", at.ContainerID)
}

func networkLabel(network string) string { return fmt.Sprintf("name: %q", network) }

// commentMax is the longest comment of a rule (XT_MAX_COMMENT_LEN less its final
// zero byte).
const commentMax = 255

func comment(text string) []string {
	if len(text) > commentMax {
		text = text[:commentMax-2] + "..." // which makes it upstream's 256
	}
	return []string{"-m", "comment", "--comment", text}
}

// families are IPv4 and IPv6.
var families = []bool{false, true}

// lockWait is how many seconds a program waits for the lock that all programs of
// iptables-legacy share.
const lockWait = 30

// open gives go-iptables the first of a family's programs that PATH has, such as
// ip6tables-nft. Where it has none, the error is fs.ErrNotExist.
func open(six bool, kinds ...string) (*goiptables.IPTables, error) {
	program, family := "iptables", goiptables.ProtocolIPv4
	if six {
		program, family = "ip6tables", goiptables.ProtocolIPv6
	}
	for _, kind := range append(kinds, "") {
		if path := find(program + kind); path != "" {
			return goiptables.New(goiptables.Path(path), goiptables.IPFamily(family), goiptables.Timeout(lockWait))
		}
	}
	err := cni.Errorf(cni.CodeMissing, "backend iptables: no folder of PATH has the program %s: %w", program, fs.ErrNotExist)
	return nil, cni.Hint(err, "install the package iptables (Debian and Ubuntu: apt-get install iptables), or use the backend nftables, which needs no program")
}

// find looks a program up in PATH. Entries that are empty or relative name a
// folder that could be anybody's: they are passed over.
func find(program string) string {
	for _, dir := range filepath.SplitList(os.Getenv("PATH")) {
		if !filepath.IsAbs(dir) {
			continue
		}
		if path, err := exec.LookPath(filepath.Join(dir, program)); err == nil {
			return path
		}
	}
	return ""
}

// said is go-iptables' error in one line: the command, and what the program said.
func said(err error) error {
	var failed *goiptables.Error
	if !errors.As(err, &failed) {
		return err
	}
	text, _, _ := strings.Cut(failed.Error(), "\nTry `")
	return errors.New(strings.Join(strings.Fields(text), " "))
}

// Ready looks whether the programs are there that the facts need.
func Ready() error {
	_, err := open(false)
	_, err6 := open(true)
	return errors.Join(err, err6)
}
