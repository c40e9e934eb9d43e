package daemon

import (
	"encoding/json"
	"net/netip"
	"testing"
	"time"

	"github.com/catena-cni/catena/internal/cni"
	"github.com/catena-cni/catena/internal/ipam/dhcp/client"
	"github.com/catena-cni/catena/internal/kernel"
	"github.com/catena-cni/catena/internal/kerneltest"
)

func args(conf string) Args {
	return Args{ContainerID: "c1", Netns: "/run/netns/c1", IfName: "eth0", Args: "IgnoreUnknown=1;K8S_POD_NAME=p", StdinData: json.RawMessage(conf)}
}

const wish = `{"cniVersion":"1.0.0","name":"n","type":"macvlan","ipam":{"type":"dhcp","provide":[{"option":"host-name","value":"h"},{"option":"12","fromArg":"K8S_POD_NAME"}],"request":[{"option":"routers"}]}}`

// FuzzRecord reads records of any content.
func FuzzRecord(f *testing.F) {
	at := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	lease := &client.Lease{
		Address: netip.MustParsePrefix("10.1.2.3/24"), Server: netip.MustParseAddr("10.1.2.1"), Renew: at, Rebind: at, Expire: at,
		Routes: []client.Route{{Dst: netip.MustParsePrefix("0.0.0.0/0"), Via: netip.MustParseAddr("10.1.2.1")}}, MTU: 1400,
	}
	kerneltest.FuzzRecords(f, (&Daemon{}).records(), &Record{
		Args: args(wish), netnsOfBoot: netnsOfBoot{Boot: "b", NetnsID: kernel.NetnsID{Dev: 4, Ino: 5}}, Segment: client.Segment{Index: 2, MAC: "02:00:00:00:00:01"},
		Leases: map[string]*client.Lease{four: lease}, Applied: map[string]*client.Lease{four: nil},
	})
}

// FuzzArgs reads what plugins hand over: it is refused well, or names an attachment that
// can have a file.
func FuzzArgs(f *testing.F) {
	for _, conf := range []string{wish, `{"name":"n"}`, `{"name":"../x"}`, `null`, `{"name":"n","ipam":{"provide":[{"option":"300","value":"x"}]}}`, `{"name":"n","ipam":{"request":[{"option":""}]}}`} {
		f.Add("c1", "eth0", "A=1", []byte(conf))
	}
	f.Add("../c1", "eth%d", ";;=", []byte(wish))
	f.Fuzz(func(t *testing.T, id, ifname, text string, conf []byte) {
		a := Args{ContainerID: id, IfName: ifname, Args: text, StdinData: conf}
		at, _, err := a.read()
		if !kerneltest.Refused(t, err) && cni.CheckAttachment(at) != nil {
			t.Errorf("%v is taken", at)
		}
	})
}
