package firewalld

import (
	"testing"

	"github.com/catena-cni/catena/internal/kerneltest"
	"github.com/catena-cni/catena/internal/state/name"
)

// FuzzRecord reads records of any content.
func FuzzRecord(f *testing.F) {
	kerneltest.FuzzRecords(f, records, record{Owner: name.Attachment{Network: "n", ContainerID: "c1", IfName: "eth0"}, Zone: "trusted", Sources: []string{"10.1.2.3/32"}})
}
