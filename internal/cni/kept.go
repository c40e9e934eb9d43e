package cni

import (
	"encoding/json"
	"path/filepath"

	"github.com/catena-cni/catena/internal/state"
	"github.com/catena-cni/catena/internal/state/name"
)

// Kept is what libcni keeps of an attachment from its ADD to the end of its DEL.
type Kept struct {
	ContainerID string          `json:"containerId"`
	IfName      string          `json:"ifName"`
	Network     string          `json:"networkName"`
	Netns       string          `json:"netns"`
	Result      json.RawMessage `json:"result"`
}

// keptMax is many times what a result has, in bytes.
const keptMax = 16 << 20

// KeptOf is empty where nothing is kept.
func KeptOf(at name.Attachment) (k Kept) {
	b, err := state.ReadTrusted(filepath.Join("/var/lib/cni/results", at.Network+"-"+at.ContainerID+"-"+at.IfName), keptMax)
	if err != nil || json.Unmarshal(b, &k) != nil {
		return Kept{}
	}
	// All three parts may have a '-', so the name may be of others.
	if (name.Attachment{Network: k.Network, ContainerID: k.ContainerID, IfName: k.IfName}) != at {
		return Kept{}
	}
	return k
}
