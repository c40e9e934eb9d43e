package upstream

import (
	"encoding/json"
	"os"
	"path/filepath"

	"github.com/catena-cni/catena/internal/kernel"
	"github.com/catena-cni/catena/internal/state/name"
)

// kept is what libcni keeps of an attachment from its ADD to the end of its DEL.
type kept struct {
	ContainerID string          `json:"containerId"`
	IfName      string          `json:"ifName"`
	Network     string          `json:"networkName"`
	Netns       string          `json:"netns"`
	Result      json.RawMessage `json:"result"`
}

// keptOf is empty where nothing is kept.
func keptOf(at name.Attachment) (k kept) {
	b, err := os.ReadFile(filepath.Join(results, at.Network+"-"+at.ContainerID+"-"+at.IfName))
	if err != nil || json.Unmarshal(b, &k) != nil {
		return kept{}
	}
	// All three parts may have a '-', so the name may be of others.
	if (name.Attachment{Network: k.Network, ContainerID: k.ContainerID, IfName: k.IfName}) != at {
		return kept{}
	}
	return k
}

// KeptResult is the result that libcni keeps of an attachment, nil where there is
// none.
func KeptResult(at name.Attachment) json.RawMessage { return keptOf(at).Result }

// Departed reports whether libcni keeps a result of the attachment whose network
// namespace is not there any more.
func Departed(at name.Attachment) bool {
	k := keptOf(at)
	if k.Netns == "" {
		return false
	}
	id, err := kernel.LookNetns(k.Netns)
	return err == nil && id == kernel.NetnsID{}
}
