package legacy

import (
	"path/filepath"

	"github.com/catena-cni/catena/internal/file"
	"github.com/catena-cni/catena/internal/json"
	"github.com/catena-cni/catena/internal/name"
)

// KeptResult is the result that libcni keeps of an attachment from its ADD to the
// end of its DEL, nil where there is none.
func KeptResult(at name.Attachment) json.RawMessage {
	var kept struct {
		ContainerID string          `json:"containerId"`
		IfName      string          `json:"ifName"`
		Network     string          `json:"networkName"`
		Result      json.RawMessage `json:"result"`
	}
	b, err := file.Read(filepath.Join(results, at.Network+"-"+at.ContainerID+"-"+at.IfName))
	if err != nil || json.Unmarshal(b, &kept) != nil {
		return nil
	}
	// All three parts may have a '-', so the name may be of others.
	if (name.Attachment{Network: kept.Network, ContainerID: kept.ContainerID, IfName: kept.IfName}) != at {
		return nil
	}
	return kept.Result
}
