package device

import (
	"errors"
	"io/fs"
	"net"
	"os"
	"strings"
	"testing"

	"github.com/catena-cni/catena/internal/kernel"
	"github.com/catena-cni/catena/internal/kerneltest"
	"github.com/catena-cni/catena/internal/state/name"
)

func TestMain(m *testing.M) { kerneltest.Main(m) }

var owner = name.Attachment{Network: "n", ContainerID: "c1", IfName: "eth0"}

const pair = "ip link add up0 mtu 1450 address 02:00:00:00:00:aa type veth peer name up1; ip link set up0 up alias theirs; ip link set up1 up; ip addr add 192.0.2.5/24 dev up0"

func look(s *kerneltest.Sandbox) string {
	return s.Run("ip -o -d addr show up0 | sed '/ fe80:/d; s/^[0-9]*: //'; ip -o link show up0 | sed 's/^[0-9]*: //; s/,M-DOWN//; s/,LOWER_UP//; s/,NO-CARRIER//; s/state [A-Z]*//'")
}

// TestHalfAMove: the kernel moves a link and then refuses its new name. What
// was written down brings it home.
func TestHalfAMove(t *testing.T) {
	s := kerneltest.New(t)
	s.Run(pair + "; pod ip link add eth0 type veth peer name x")
	before := look(s)
	k := s.Kernel()
	d := Device{Owner: owner, Select: Selector{Name: "up0"}}
	l, err := d.Select.find(k)
	if err != nil {
		t.Fatal(err)
	}
	r, err := describe(k, owner, l)
	if err != nil {
		t.Fatal(err)
	}
	if err := records.Claim(r); err != nil {
		t.Fatal(err)
	}
	if err := d.move(k, l); !errors.Is(err, fs.ErrExist) {
		t.Fatalf("the name is taken: %v", err)
	}
	t.Log(s.Run("pod ip -br link"))
	if err := d.Del(k); err != nil {
		t.Fatal(err)
	}
	s.Same("half a move", before, look(s))
	if out := s.Run("pod ip -br link show eth0; ls -A /run/catena/device"); strings.Contains(out, "up0") || strings.Count(out, "\n") != 1 {
		t.Error(out)
	}
}

// TestChangedByPod: what a pod has made of the device does not come home with it, nor keeps it away.
func TestChangedByPod(t *testing.T) {
	for _, change := range []string{
		"txqueuelen 7 promisc on allmulticast on arp off mtu 1300", "group 77", "down name x0", "address 02:00:00:00:00:bb alias x",
	} {
		t.Run(change, func(t *testing.T) {
			s := kerneltest.New(t)
			s.Run(pair + "; ip link property add dev up0 altname first; ip link set up0 group 5 allmulticast on")
			before := look(s)
			d := Device{Owner: owner, Select: Selector{Name: "up0"}}
			if err := d.Add(s.Kernel()); err != nil {
				t.Fatal(err)
			}
			s.Run("pod ip link property add dev eth0 altname up1 altname later && pod ip link set eth0 " + change)
			if err := d.Del(s.Kernel()); err != nil {
				t.Error(err)
			}
			s.Same("DEL", before, look(s))
		})
	}
}

// TestAddAfterDeath: an ADD that was killed, and comes again without a DEL.
func TestAddAfterDeath(t *testing.T) {
	s := kerneltest.New(t)
	s.Run(pair)
	before := look(s)
	k := s.Kernel()
	d := Device{Owner: owner, Select: Selector{Name: "up0"}}
	l, _ := d.Select.find(k)
	r, err := describe(k, owner, l)
	if err != nil || records.Claim(r) != nil {
		t.Fatal(err)
	}
	if err := d.Add(s.Kernel()); err != nil {
		t.Fatal(err)
	}
	if err := d.Check(s.Kernel()); err != nil {
		t.Error(err)
	}
	if err := d.Del(s.Kernel()); err != nil {
		t.Error(err)
	}
	s.Same("DEL", before, look(s))
}

// TestBrokenRecord: what cannot be read does not keep the device from coming
// home by its alias.
func TestBrokenRecord(t *testing.T) {
	for _, text := range []string{"", "{", `{"name":"../x"}`, `{"owner":{"Network":"m"},"name":"up0"}`} {
		t.Run(text, func(t *testing.T) {
			s := kerneltest.New(t)
			s.Run(pair)
			d := Device{Owner: owner, Select: Selector{Name: "up0"}}
			if err := d.Add(s.Kernel()); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(string(records.Folder)+"/"+owner.Key(), []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
			if list, err := Attachments(nil); err != nil || len(list) != 0 {
				t.Errorf("%v %v", list, err)
			}
			for range 2 {
				if err := d.Del(s.Kernel()); err != nil {
					t.Error(err)
				}
			}
			s.Run("ip link show up0")
		})
	}
}

func TestByMAC(t *testing.T) {
	mac := net.HardwareAddr{2, 0, 0, 0, 0, 1}
	other := net.HardwareAddr{2, 0, 0, 0, 0, 2}
	link := func(index int, name, kind string, parent, master int, perm net.HardwareAddr) *kernel.Link {
		return &kernel.Link{Index: index, Name: name, Kind: kind, Parent: parent, Master: master, MAC: mac, PermMAC: perm}
	}
	for name, row := range map[string]struct {
		links []*kernel.Link
		want  string
	}{
		"vlan first":      {[]*kernel.Link{link(5, "eth0.5", "vlan", 2, 0, nil), link(2, "eth0", "", 0, 0, mac)}, "eth0"},
		"bridge first":    {[]*kernel.Link{link(1, "br0", "bridge", 0, 0, nil), link(2, "eth0", "", 0, 1, nil)}, "eth0"},
		"ports of a bond": {[]*kernel.Link{link(1, "bond0", "bond", 0, 0, nil), link(2, "eth0", "", 0, 1, other), link(3, "eth1", "", 0, 1, mac)}, "eth1"},
		"vlan on a dummy": {[]*kernel.Link{link(5, "d0.5", "vlan", 2, 0, nil), link(2, "d0", "dummy", 0, 0, nil)}, "d0"},
		"two of hardware": {[]*kernel.Link{link(2, "eth0", "", 0, 0, mac), link(3, "eth1", "", 0, 0, mac)}, "hwaddr 02:00:00:00:00:01 is that of eth0, eth1"},
		"none":            {nil, "no link of the host has hwaddr 02:00:00:00:00:01: file does not exist"},
	} {
		l, err := byMAC(row.links, mac)
		if err != nil && err.Error() != row.want || err == nil && l.Name != row.want {
			t.Errorf("%s: %v %v", name, l, err)
		}
	}
}

// TestUnreadableRecord: a record that cannot be read now is kept, with the device
// where it is.
func TestUnreadableRecord(t *testing.T) {
	s := kerneltest.New(t)
	s.Run(pair)
	before := look(s)
	d := Device{Owner: owner, Select: Selector{Name: "up0"}}
	if err := d.Add(s.Kernel()); err != nil {
		t.Fatal(err)
	}
	folder := string(records.Folder)
	s.Run("mv " + folder + " /run/aside; touch " + folder)
	if err := d.Del(s.Kernel()); err == nil {
		t.Error("DEL succeeded without the record")
	}
	s.Run("rm " + folder + "; mv /run/aside " + folder)
	if err := d.Del(s.Kernel()); err != nil {
		t.Error(err)
	}
	s.Same("DEL", before, look(s))
}
