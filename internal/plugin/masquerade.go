package plugin

import (
	"errors"
	"slices"

	"github.com/catena-cni/catena/internal/cni"
	"github.com/catena-cni/catena/internal/kernel"
	"github.com/catena-cni/catena/internal/link"
	"github.com/catena-cni/catena/internal/name"
	"github.com/catena-cni/catena/internal/nft"
)

// CheckMasquerade holds the key ipMasqBackend against what can be done.
func CheckMasquerade(wanted bool, backend *string) error {
	switch {
	case backend == nil || *backend == "nftables":
		return nil
	case *backend == "":
		return errors.New(`ipMasqBackend is "", and can be nftables`)
	case *backend == "iptables" && wanted:
		err := cni.Errorf(cni.CodeUnsupported, "ipMasqBackend iptables: this version masquerades with nftables alone")
		return cni.Hint(err, "leave ipMasqBackend out, or set it to nftables; both work beside the iptables rules of others")
	}
	return nil
}

// PresentByLink finds the attachments that have a link on the host, or members
// of the kinds that come with one.
func PresentByLink(k *kernel.Kernel) ([]name.Attachment, error) {
	present, err := link.Attachments(k)
	members, merr := nft.Attachments(nft.KindMasquerade, nft.KindGuard)
	for _, m := range members {
		if !slices.Contains(present, m) {
			present = append(present, m)
		}
	}
	return present, errors.Join(err, merr)
}
