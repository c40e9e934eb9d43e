package main

import (
	"os"
	"strings"
	"testing"
	"time"

	"github.com/catena-cni/catena/internal/kernel"
	"github.com/catena-cni/catena/internal/kerneltest"
)

// tree is a small /sys with the device up0 on every bus. The links in it are
// those of the real one.
const tree = `
mkdir -p $S/bus/pci/devices $S/bus/auxiliary/devices $S/class/net $S/bus/pci/drivers/vfio-pci $S/bus/pci/drivers/e1000
pci() { mkdir -p $S/devices/pci0000:00/$1/$2; ln -s ../../../devices/pci0000:00/$1 $S/bus/pci/devices/$1; [ -z "$3" ] || ln -s ../../../bus/pci/drivers/$3 $S/devices/pci0000:00/$1/driver; }
pci 0000:00:01.0 net/up0 e1000
pci 0000:00:02.0 virtio2/net/up0 e1000
pci 0000:00:03.0 . vfio-pci
pci 0000:00:04.0 net/up0 e1000; mkdir $S/devices/pci0000:00/0000:00:04.0/net/up7
pci 0000:00:05.0 net/up0 e1000; mkdir $S/devices/pci0000:00/0000:00:05.0/net/rep0; echo pf0vf1 > $S/devices/pci0000:00/0000:00:05.0/net/rep0/phys_port_name
pci 0000:00:06.0 . e1000
pci 0000:00:07.0 net/up0
pci 0000:af:00.0 net/up0 e1000
mkdir -p $S/devices/pci0000:00/0000:00:01.0/mlx5_core.sf.4/net/up0; ln -s ../../../devices/pci0000:00/0000:00:01.0/mlx5_core.sf.4 $S/bus/auxiliary/devices/mlx5_core.sf.4
ln -s ../../etc $S/devices/outside
mkdir -p $S/class/net/up0; ln -s ../../../devices/pci0000:00/0000:00:01.0 $S/class/net/up0/device
mount --bind $S /sys`

func withTree(t *testing.T) world {
	t.Helper()
	w := newWorld(t)
	w.Run("S=" + t.TempDir() + tree)
	return w
}

// selecting is a configuration with other selectors than the name.
func selecting(keys string) string {
	return `{"cniVersion":"1.1.0","name":"n","type":"host-device","ipam":{"type":"home-made"},` + keys + `}`
}

func TestSysfs(t *testing.T) {
	kerneltest.NeedsTime(t)
	for _, row := range []struct {
		name, keys string
		code       uint
		words      string
	}{
		{name: "PCI", keys: `"pciBusID":"0000:00:01.0"`},
		{name: "PCI by capability", keys: `"pciBusID":"0000:00:06.0","runtimeConfig":{"deviceID":"0000:00:01.0"}`},
		{name: "capital letters", keys: `"pciBusID":"0000:AF:00.0"`},
		{name: "virtio", keys: `"pciBusID":"0000:00:02.0"`},
		{name: "beside a representor", keys: `"pciBusID":"0000:00:05.0"`},
		{name: "kernelpath", keys: `"kernelpath":"/sys/devices/pci0000:00/0000:00:01.0"`},
		{name: "kernelpath with a slash too many", keys: `"kernelpath":"/sys/devices/pci0000:00//0000:00:01.0/"`},
		{name: "auxiliary", keys: `"runtimeConfig":{"deviceID":"mlx5_core.sf.4"}`},
		{name: "the name counts before PCI", keys: `"device":"up0","pciBusID":"0000:00:99.0"`},
		{name: "the path counts before PCI", keys: `"kernelpath":"/sys/devices/pci0000:00/0000:00:01.0","pciBusID":"0000:00:06.0"`},
		{name: "two ports", keys: `"pciBusID":"0000:00:04.0"`, code: 100, words: "has the interfaces up0, up7"},
		{name: "no interface", keys: `"pciBusID":"0000:00:06.0"`, code: 102, words: "no network interface"},
		{name: "no driver", keys: `"pciBusID":"0000:00:07.0"`, code: 7, words: "0000:00:07.0 has no driver"},
		{name: "unknown PCI device", keys: `"pciBusID":"0000:00:99.0"`, code: 7, words: "PCI device 0000:00:99.0"},
		{name: "unknown device", keys: `"runtimeConfig":{"deviceID":"nothing"}`, code: 7, words: "nothing is neither on the PCI nor on the auxiliary bus"},
		{name: "no such path", keys: `"kernelpath":"/sys/devices/nowhere"`, code: 102, words: "/sys/devices/nowhere"},
		{name: "a path that leads out", keys: `"kernelpath":"/sys/devices/outside"`, code: 100, words: "not below /sys/devices"},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			w := withTree(t)
			c := w.call("ADD", "")
			c.Conf = selecting(row.keys)
			if row.code != 0 {
				w.Refuses(c, row.code, row.words)
				return
			}
			out := w.Must(c).Stdout
			if text := w.Run("pod ip link show eth0"); !strings.Contains(text, "alias up0") {
				t.Error(text)
			}
			c.Verb, c.Conf = "CHECK", selecting(row.keys+`,"prevResult":`+out)
			w.Must(c)
			c.Verb = "DEL"
			w.Run("umount /sys; mount -t tmpfs t /sys") // the device is pulled out, as far as the host sees
			w.Must(c)
			w.home(t, row.name)
		})
	}
}

// TestDPDK: a driver in user space has the device: addresses are taken, and
// nothing is moved.
func TestDPDK(t *testing.T) {
	for _, keys := range []string{`"pciBusID":"0000:00:03.0"`, `"runtimeConfig":{"deviceID":"0000:00:03.0"}`, `"device":"up0","dpdkMode":false,"pciBusID":"0000:00:03.0"`} {
		t.Run(keys, func(t *testing.T) {
			t.Parallel()
			w := withTree(t)
			before := w.Text()
			c := w.call("STATUS", "")
			c.Conf = selecting(keys)
			w.Must(c)
			c.Verb = "ADD"
			out := w.Must(c).Stdout
			if !strings.Contains(out, `"name": "eth0"`) || !strings.Contains(out, "10.1.2.3/24") || strings.Contains(out, `"mac"`) {
				t.Error(out)
			}
			w.Same("ADD", before, w.Text())
			c.Verb, c.Conf = "CHECK", selecting(keys+`,"prevResult":`+out)
			w.Must(c)
			c.Verb = "DEL"
			for range 2 {
				w.Must(c)
			}
			w.Same("DEL", before, w.Text())
			if calls := w.calls(); calls != "STATUS ADD CHECK DEL DEL" {
				t.Errorf("IPAM was called for %s", calls)
			}
		})
	}
}

// TestHWAddr: of links that share an address the one below is meant.
func TestHWAddr(t *testing.T) {
	for _, row := range []struct{ name, needs, setup, words string }{
		{name: "alone"},
		{name: "a VLAN on it has the same", needs: "vlan", setup: "ip link add link up0 name up0.5 type vlan id 5"},
		{name: "its bridge has the same", setup: "ip link set br0 address 02:00:00:00:00:aa"},
		{name: "two that stand side by side", setup: "ip link add v8 address 02:00:00:00:00:aa type veth peer name v9", words: "is that of"},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			if row.needs != "" {
				kerneltest.Needs(t, row.needs)
			}
			w := newWorld(t)
			if row.setup != "" {
				w.Run(row.setup)
			}
			c := w.call("ADD", "")
			c.Conf = selecting(`"hwaddr":"02:00:00:00:00:AA"`)
			if row.words != "" {
				w.Refuses(c, 100, row.words, "up0 (a veth)", "v8 (a veth)")
				return
			}
			w.Must(c)
			if text := w.Run("pod ip link show eth0"); !strings.Contains(text, "alias up0") {
				t.Error(text)
			}
			c.Verb = "DEL"
			w.Must(c)
			w.Run("ip link set br0 address 02:00:00:00:00:b0")
			w.home(t, row.name)
		})
	}
}

// TestHardwareComesLate: the kernel sends a device home when it gets round to
// it, and DEL waits for that.
func TestHardwareComesLate(t *testing.T) {
	kerneltest.NeedsTime(t)
	t.Parallel()
	w := withTree(t)
	w.Must(w.call("ADD", ""))
	// Another path keeps the namespace, for a while.
	w.Run("touch $POD.kept; mount --bind $POD $POD.kept; umount $POD")
	home := w.mover(t, w.Pod+".kept")
	del := w.Begin(w.call("DEL", ""))
	for end := time.Now().Add(time.Minute); !listened(t) && time.Now().Before(end); {
		time.Sleep(time.Millisecond)
	}
	home()
	if a := del.Wait(); a.Exit != 0 {
		t.Errorf("DEL: %s", a.Msg)
	}
	w.home(t, "DEL")

	// Where somebody holds the namespace open for good, DEL ends, IPAM is told,
	// and the record stays for the next one.
	w.Run("umount $POD.kept; rm $POD $POD.kept")
	w.NewPod(w.Pod)
	w.Must(w.call("ADD", ""))
	w.Run("touch $POD.kept; mount --bind $POD $POD.kept; umount $POD")
	w.calls()
	w.Must(w.call("DEL", ""))
	if calls := w.calls(); calls != "DEL" {
		t.Errorf("IPAM was called for %s", calls)
	}
	w.Run("nsenter --net=$POD.kept ip link set eth0 netns $$; umount $POD.kept")
	w.Must(w.call("GC", `,"cni.dev/valid-attachments":[]`))
	w.home(t, "GC")
}

// mover gives what moves eth0 of a namespace to the host in no time: DEL waits for
// some seconds.
func (w world) mover(t *testing.T, netns string) func() {
	t.Helper()
	k, err := kernel.Open(netns)
	if err != nil {
		t.Fatal(err)
	}
	l, err := k.Link(kernel.Pod, "eth0")
	if err != nil {
		t.Fatal(err)
	}
	host, err := kernel.OpenHostNetns()
	if err != nil {
		t.Fatal(err)
	}
	return func() {
		err := k.SetLink(kernel.Pod, l, 0, 0, kernel.NetnsFD(int(host.Fd())))
		if err != nil {
			t.Error(err)
		}
		host.Close()
		k.Close()
	}
}

// listened reports whether somebody listens for the host's links.
func listened(t *testing.T) bool {
	t.Helper()
	list, err := os.ReadFile("/proc/thread-self/net/netlink")
	if err != nil {
		t.Fatal(err)
	}
	for _, line := range strings.Split(string(list), "\n")[1:] {
		if f := strings.Fields(line); len(f) > 3 && f[1] == "0" && f[3] != "00000000" {
			return true
		}
	}
	return false
}

// TestBadInput: a clear error, and nothing has changed.
func TestBadInput(t *testing.T) {
	kerneltest.Refusals{
		Plugins: []string{"plugins/main/host-device"},
		Conf:    kerneltest.Minimal("host-device"),
		Setup:   uplink,
		Look:    state,
		Rows: []kerneltest.Refusal{
			{Name: "nothing selected", Conf: `,"hwaddr":""`, Code: 7, Words: "no device is given|pciBusID"},
			{Name: "wrong type", Conf: `,"device":5`, Code: 6, Words: "device|string"},
			{Name: "a path for a name", Conf: `,"device":"../up0"`, Code: 7, Words: "no interface name"},
			{Name: "no such device", Conf: `,"device":"up9"`, Code: 102, Words: "link up9"},
			{Name: "an alternative name that nobody has", Conf: `,"device":"a-name-of-more-than-15-bytes"`, Code: 102, Words: "a-name-of-more"},
			{Name: "no hwaddr", Conf: `,"hwaddr":"zz"`, Code: 7, Words: `hwaddr is "zz"`},
			{Name: "unknown hwaddr", Conf: `,"hwaddr":"02:00:00:00:00:99"`, Code: 102, Words: "no link of the host has hwaddr"},
			{Name: "relative path", Conf: `,"kernelpath":"devices/x"`, Code: 7, Words: "kernelpath"},
			{Name: "path elsewhere", Conf: `,"kernelpath":"/sys/class/net/up0"`, Code: 7, Words: "below /sys/devices"},
			{Name: "path upwards", Conf: `,"kernelpath":"/sys/devices/../class/net/up0"`, Code: 7, Words: "kernelpath"},
			{Name: "PCI address upwards", Conf: `,"pciBusID":"../../../etc"`, Code: 7, Words: "pciBusID"},
			{Name: "PCI address of dots", Conf: `,"pciBusID":".."`, Code: 7, Words: "pciBusID"},
			{Name: "deviceID upwards", Conf: `,"runtimeConfig":{"deviceID":"../x"}`, Code: 7, Words: "deviceID"},
			{Name: "dpdkMode without PCI", Conf: `,"device":"up0","dpdkMode":true`, Code: 7, Words: "dpdkMode is for PCI devices"},
			{Name: "unknown policy", Conf: `,"device":"up0","dad":"maybe"`, Code: 7, Words: "dad|optimistic"},
			{Name: "loopback", Conf: `,"device":"lo"`, Code: 100, Words: "lo (the loopback device) cannot leave"},
			{Name: "a bridge", Conf: `,"device":"br0"`, Code: 100, Words: "br0 (a bridge) cannot leave"},
			{Name: "interface exists", Conf: `,"device":"up0"`, Setup: "pod ip link add eth0 type veth peer name x", Code: 101, Words: "eth0|already"},
			{Name: "no namespace", Conf: `,"device":"up0"`, Netns: "/nowhere", Code: 102, Words: "/nowhere"},
			{Name: "no IPAM plugin", Conf: `,"device":"up0","ipam":{"type":"nowhere"}`, Code: 102, Words: `find plugin "nowhere"`},
			{Name: "unknown key, strict", Conf: `,"strict":true,"devise":"up0"`, Code: 2, Words: "did you mean device"},
		},
	}.Run(t)
}

// TestAlternativeName: a device is found by another name that it goes by, and
// comes home under its own.
func TestAlternativeName(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.Run("ip link property add dev up0 altname enx-a-name-of-more-than-15-bytes")
	w.before = w.Run(state)
	c := w.call("ADD", "")
	c.Conf = selecting(`"device":"enx-a-name-of-more-than-15-bytes"`)
	w.Must(c)
	w.Must(w.call("DEL", ""))
	w.home(t, "DEL")
}

// TestNoSysfs: where /sys is another namespace's and none can be mounted, as in a
// user namespace that does not own the mounts, a device comes and goes all the same.
func TestNoSysfs(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	out := w.Run(`unshare -Urn sh -ec '
		ip link add up5 type veth peer name up6
		unshare -n sh -c "echo; exec sleep 600" > ` + t.TempDir() + `/pod & pod=$!; trap "kill $pod" EXIT
		until [ "$(readlink /proc/$pod/ns/net)" != "$(readlink /proc/self/ns/net)" ]; do :; done
		call() {
			echo "{\"cniVersion\":\"1.0.0\",\"name\":\"n\",\"type\":\"host-device\",\"device\":\"up5\"}" |
				CNI_COMMAND=$1 CNI_CONTAINERID=c1 CNI_IFNAME=eth0 CNI_NETNS=/proc/$pod/ns/net CNI_PATH=` + w.bin + ` ` + w.bin + `/host-device
		}
		call ADD; echo; echo in the pod: $(nsenter --net=/proc/$pod/ns/net ip -br link show eth0)
		call DEL; echo at home: $(ip -br link show up5)'`)
	for _, words := range []string{"in the pod: eth0@", "at home: up5@"} {
		if !strings.Contains(out, words) {
			t.Errorf("there is no %q:\n%s", words, out)
		}
	}
}
