package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/catena-cni/catena/internal/cni"
	"github.com/catena-cni/catena/internal/kerneltest"
)

// homeMade is an IPAM plugin: it writes down what it was asked, and does
// what the file with the verb's name says.
const homeMade = `#!/bin/sh
/bin/echo "$CNI_COMMAND" >> %[1]s/calls
/bin/cat > /dev/null
[ -e %[1]s/"$CNI_COMMAND" ] && . %[1]s/"$CNI_COMMAND"
exit 0
`

// world is a sandbox with host-device, the IPAM plugin and a device to move.
type world struct {
	*kerneltest.Sandbox
	bin, dir, before string
}

func newWorld(t *testing.T) world {
	t.Helper()
	w := world{kerneltest.New(t), t.TempDir(), t.TempDir(), ""}
	built := kerneltest.Build(t, "plugins/main/host-device")
	if err := os.Symlink(filepath.Join(built, "host-device"), filepath.Join(w.bin, "host-device")); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(w.bin, "home-made"), fmt.Appendf(nil, homeMade, w.dir), 0o755); err != nil {
		t.Fatal(err)
	}
	w.ipam(t, "ADD", `echo '{"cniVersion":"1.0.0","ips":[{"address":"10.1.2.3/24","gateway":"10.1.2.1"}]}'`)
	w.Run(uplink)
	w.before = w.Run(state)
	return w
}

func (w world) ipam(t *testing.T, verb, script string) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(w.dir, verb), []byte(script), 0o644); err != nil {
		t.Fatal(err)
	}
}

func (w world) calls() string {
	b, _ := os.ReadFile(filepath.Join(w.dir, "calls"))
	_ = os.Remove(filepath.Join(w.dir, "calls"))
	return strings.Join(strings.Fields(string(b)), " ")
}

func (w world) call(verb, keys string) kerneltest.Call {
	conf := `{"cniVersion":"1.1.0","name":"n","type":"host-device","device":"up0","ipam":{"type":"home-made"}` + keys + `}`
	return kerneltest.Call{Bin: w.bin, Plugin: "host-device", Verb: verb, Conf: conf}
}

// home reports a device that is not on the host as it was, and a record of it.
func (w world) home(t *testing.T, what string) {
	t.Helper()
	if out, err := w.Try("ip link show up0"); err != nil {
		t.Fatalf("%s: the device is not home: %s\n%s", what, out, w.Run("ip -br link; [ ! -e $POD ] || pod ip -d link || true"))
	}
	w.Same(what, w.before, w.Run(state))
	if out := w.Run("find /run/catena/device -type f 2>/dev/null || true"); out != "" {
		t.Errorf("%s: a record is left: %s", what, out)
	}
}

// TestLife goes through a pod's life, in which the pod changes the device.
func TestLife(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.Must(w.call("STATUS", ""))
	out := w.Must(w.call("ADD", "")).Stdout
	r, err := cni.ParseResult("x", []byte(out), "1.1.0")
	if err != nil {
		t.Fatal(err)
	}
	if len(r.Interfaces) != 1 || r.Interfaces[0].Name != "eth0" || r.Interfaces[0].Mac != "02:00:00:00:00:aa" || r.Interfaces[0].Mtu != 1450 || r.IPs[0].Interface == nil {
		t.Errorf("%s", out)
	}
	if text := w.Run("pod ip link show eth0"); !strings.Contains(text, "alias up0") || !strings.Contains(text, ",UP") {
		t.Errorf("in the pod: %s", text)
	}
	w.Must(w.call("CHECK", `,"prevResult":`+out))
	w.Must(w.call("STATUS", ""))
	w.calls()
	w.Finished("n", "c1")
	w.Refuses(w.call("ADD", ""), 101, "eth0")
	if calls := w.calls(); calls != "" {
		t.Errorf("a second ADD calls IPAM: %s", calls)
	}
	w.Run("pod sh -c 'ip link set eth0 down; ip link set eth0 mtu 1300 address 02:00:00:00:00:bb alias x promisc off'")
	if a := w.Call(w.call("CHECK", `,"prevResult":`+out)); a.Code != 104 || !strings.Contains(a.Msg, "02:00:00:00:00:bb") && !strings.Contains(a.Msg, "another device") {
		t.Errorf("CHECK: %d %s", a.Code, a.Msg)
	}
	w.Run("pod ip link set eth0 alias up0")
	for range 2 {
		w.Must(w.call("DEL", ""))
		w.home(t, "DEL")
	}
	if calls := w.calls(); strings.Count(calls, "DEL") != 2 {
		t.Errorf("IPAM was called for %s", calls)
	}
}

// TestIPAMFails: the device comes home, whatever stops the ADD.
func TestIPAMFails(t *testing.T) {
	for name, script := range map[string]string{
		"refuses":    `echo '{"code":11,"msg":"come back later"}'; exit 1`,
		"no address": `echo '{"cniVersion":"1.0.0"}'`,
		"bad route":  `echo '{"cniVersion":"1.0.0","ips":[{"address":"10.1.2.3/24"}],"routes":[{"dst":"10.9.0.0/16","gw":"10.1.2.1","scope":254}]}'`,
		"no version": `echo '{"cniVersion":"7.0.0"}'`,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			w.ipam(t, "ADD", script)
			if a := w.Call(w.call("ADD", "")); a.Exit == 0 {
				t.Fatal("it is accepted")
			}
			w.home(t, "a failed ADD")
			if calls := w.calls(); calls != "ADD DEL" {
				t.Errorf("IPAM was called for %s", calls)
			}
		})
	}
}

// TestDel brings the device home from wherever it is.
func TestDel(t *testing.T) {
	for _, row := range []struct {
		name   string
		breaks string
		netns  string
		stays  bool // the device is no more
	}{
		{name: "no namespace said", netns: "none"},
		{name: "a path where nothing is", netns: "/nowhere"},
		{name: "a file that is none", netns: "/etc/passwd"},
		{name: "the namespace died and the device fell home", breaks: "pod ip link set eth0 netns $$; umount $POD"},
		{name: "and got another name there", breaks: "pod ip link set eth0 netns $$; ip link set eth0 name dev7; umount $POD"},
		{name: "the namespace died with the device", breaks: "umount $POD", stays: true},
		{name: "the device was deleted", breaks: "pod ip link del eth0", stays: true},
		{name: "it was renamed in the pod", breaks: "pod sh -c 'ip link set eth0 down; ip link set eth0 name other'"},
		{name: "it was brought home by hand", breaks: "pod ip link set eth0 netns $$; ip link set eth0 name up0 alias ''"},
		{name: "its bridge is gone", breaks: "ip link del br0; ip link add br0 address 02:00:00:00:00:b0 type bridge; ip link set br0 up"},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			w.Must(w.call("ADD", ""))
			w.calls()
			if row.breaks != "" {
				w.Run(row.breaks)
			}
			for range 2 {
				c := w.call("DEL", "")
				switch c.Netns = row.netns; row.netns {
				case "none":
					c.Netns = " "
				}
				w.del(t, c)
				if !row.stays {
					w.home(t, row.name)
				}
			}
			if out := w.Run("find /run/catena/device -type f"); out != "" {
				t.Errorf("a record is left: %s", out)
			}
			if calls := w.calls(); calls != "DEL DEL" {
				t.Errorf("IPAM was called for %s", calls)
			}
		})
	}
}

// del is a DEL whose CNI_NETNS may be empty, which a Call cannot say.
func (w world) del(t *testing.T, c kerneltest.Call) {
	t.Helper()
	if c.Netns != " " {
		w.Must(c)
		return
	}
	cmd := exec.Command(filepath.Join(c.Bin, c.Plugin))
	cmd.Env = []string{"CNI_PATH=" + c.Bin, "CNI_COMMAND=DEL", "CNI_CONTAINERID=c1", "CNI_IFNAME=eth0", "CNI_NETNS="}
	cmd.Stdin = strings.NewReader(c.Conf)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
}

// TestDecoy: what a pod puts in the device's place, with all that a link can be
// given, stays where it is. The device comes home if it is there.
func TestDecoy(t *testing.T) {
	const decoy = "; pod ip link add eth0 $index address 02:00:00:00:00:aa mtu 1450 type veth peer name x; pod ip link set eth0 alias up0; pod ip link set eth0 up"
	for _, row := range []struct {
		name, away string
		home       bool
	}{
		{"instead", "pod ip link del eth0", false},
		{"beside", "pod ip link set eth0 down; pod ip link set eth0 name real; index=", true},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			w.Must(w.call("ADD", ""))
			w.Run("index=\"index $(pod ip -o link show eth0 | sed 's/:.*//')\"; " + row.away + decoy)
			decoys := w.Run("pod ip -o link show type veth | grep -v real")
			result := `,"prevResult":{"cniVersion":"1.0.0","interfaces":[{"name":"eth0","mac":"02:00:00:00:00:aa","sandbox":"` + w.Pod + `"}]}`
			w.Refuses(w.call("CHECK", result), 104, "eth0 in the pod is another device than the host's up0")
			for range 2 { // the second one has no record any more
				w.Must(w.call("DEL", result))
			}
			w.Same("the decoy", decoys, w.Run("pod ip -o link show type veth"))
			if row.home {
				w.home(t, "DEL")
			} else if out := w.Run("ip -br link; find /run/catena/device -type f"); strings.Contains(out, "up0") || strings.Contains(out, "device/") {
				t.Errorf("something was brought home, or is to be:\n%s", out)
			}
		})
	}
}

// TestNameTaken: the device comes home under another name, once with an error.
func TestNameTaken(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.Must(w.call("ADD", ""))
	w.Run("ip link add up0 type veth peer name x")
	a := w.Call(w.call("DEL", ""))
	if a.Code != 101 || !strings.Contains(a.Msg, "up0 came home as up0_1") || !strings.Contains(a.Details, "ip link set up0_1 name") {
		t.Errorf("%d %s: %s", a.Code, a.Msg, a.Details)
	}
	w.Must(w.call("DEL", ""))
	w.Run("ip link del up0; ip link set up0_1 down; ip link set up0_1 name up0; ip link set up0 up")
	for _, want := range []string{"192.0.2.5/24", "198.51.100.1", "mtu 1450", "the uplink", "master br0"} {
		if text := w.Run("ip -d addr show up0"); !strings.Contains(text, want) {
			t.Errorf("no %s: %s", want, text)
		}
	}
	if calls := w.calls(); strings.Count(calls, "DEL") != 2 {
		t.Errorf("IPAM was called for %s", calls)
	}
}

// TestOtherPod: a device that another pod has is said to be there, and is taken
// over from one that is gone.
func TestOtherPod(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.NewPod(w.Pod + "2")
	w.Must(w.call("ADD", ""))
	other := w.call("ADD", "")
	other.ContainerID, other.Netns = "c2", w.Pod+"2"
	w.Refuses(other, 101, "up0 is in the pod of n/c1/eth0")
	byMAC := other
	byMAC.Conf = strings.Replace(byMAC.Conf, `"device":"up0"`, `"hwaddr":"02:00:00:00:00:aa"`, 1)
	w.Refuses(byMAC, 101, "up0 is in the pod of n/c1/eth0")
	w.Run("pod ip link set eth0 netns $$; ip link set eth0 name dev7; umount $POD")
	w.Must(other)
	w.Must(w.call("DEL", "")) // of the first, which comes late and harms nothing
	if text := w.Run("nsenter --net=${POD}2 ip addr show eth0"); !strings.Contains(text, "10.1.2.3/24") {
		t.Error(text)
	}
	other.Verb = "DEL"
	w.Must(other)
	w.home(t, "DEL")
}

// TestGC brings devices home of attachments that are not valid.
func TestGC(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.Must(w.call("ADD", ""))
	in := w.Text()
	w.Must(w.call("GC", `,"cni.dev/valid-attachments":[{"containerID":"c1","ifname":"eth0"}]`))
	foreign := w.call("GC", `,"cni.dev/valid-attachments":[]`)
	foreign.Conf = strings.Replace(foreign.Conf, `"name":"n"`, `"name":"m"`, 1)
	w.Must(foreign)
	w.Same("GC of what is valid", in, w.Text())
	w.Must(w.call("GC", `,"cni.dev/valid-attachments":[]`))
	w.home(t, "GC")
	w.Must(w.call("ADD", ""))
	w.Run("pod ip link set eth0 netns $$; umount $POD")
	w.Must(w.call("GC", `,"cni.dev/valid-attachments":[]`))
	w.home(t, "GC without the namespace")
}

// TestUpstreams: what upstream's host-device has moved comes home by our DEL.
func TestUpstreams(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.Run("ip link set up0 down; ip link set up0 netns $POD name eth0; pod ip link set eth0 alias up0; pod ip link set eth0 up")
	mac := strings.TrimSpace(w.Run("pod ip -o link show eth0 | sed 's/.*ether //; s/ .*//'"))
	w.Must(w.call("DEL", fmt.Sprintf(`,"prevResult":{"cniVersion":"1.0.0","interfaces":[{"name":"eth0","mac":%q,"sandbox":"/n"}]}`, mac)))
	if text := w.Run("ip link show up0"); strings.Contains(text, "alias") {
		t.Errorf("the alias is left: %s", text)
	}
	// And what ours has moved upstream finds by the alias; a GC then restores the rest.
	w = newWorld(t)
	w.Must(w.call("ADD", ""))
	w.Run(`name=$(pod ip link show eth0 | sed -n 's/ *alias //p'); pod ip link set eth0 down; pod ip link set eth0 name $name; pod ip link set $name alias ''; pod ip link set $name netns $$`)
	w.Must(w.call("GC", `,"cni.dev/valid-attachments":[]`))
	w.home(t, "GC after upstream's DEL")
	// A link that somebody else made is nobody's device.
	w.Run("pod ip link add eth0 type veth peer name x; pod ip link set eth0 alias net/c9/eth0")
	w.Must(w.call("DEL", ""))
	w.Run("pod ip link show eth0")
}

// TestKilled: an ADD that is killed at any moment, and then DEL: the device is
// home as it was.
func TestKilled(t *testing.T) {
	kerneltest.NeedsTime(t)
	t.Parallel()
	w := newWorld(t)
	start := time.Now()
	w.Must(w.call("ADD", ""))
	whole := time.Since(start)
	w.Must(w.call("DEL", ""))
	const moments = 24
	for i := range moments {
		for _, verb := range []string{"ADD", "DEL"} {
			if verb == "DEL" {
				w.Must(w.call("ADD", ""))
			}
			w.killed(t, w.call(verb, ""), whole*time.Duration(i)/moments*5/4)
			w.Must(w.call("DEL", ""))
			w.home(t, fmt.Sprintf("%s was killed at moment %d", verb, i))
		}
	}
}

func (w world) killed(t *testing.T, c kerneltest.Call, after time.Duration) {
	t.Helper()
	cmd := exec.Command(filepath.Join(c.Bin, c.Plugin))
	cmd.Env = []string{"CNI_PATH=" + c.Bin, "CNI_COMMAND=" + c.Verb, "CNI_CONTAINERID=c1", "CNI_IFNAME=eth0", "CNI_NETNS=" + w.Pod}
	cmd.Stdin = strings.NewReader(c.Conf)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	time.Sleep(after)
	_ = cmd.Process.Kill()
	_ = cmd.Wait()
}

// TestKilledBetween kills an ADD and a DEL before each of its messages to the
// kernel and each of its changes on disk, in turn.
func TestKilledBetween(t *testing.T) {
	kerneltest.NeedsTime(t)
	t.Parallel()
	if _, err := exec.LookPath("strace"); err != nil {
		t.Fatal("this test needs strace")
	}
	w := newWorld(t)
	for syscall, times := range map[string]int{"sendto": 24, "linkat": 1, "unlinkat": 4} {
		for n := 1; n <= times; n++ {
			for _, verb := range []string{"ADD", "DEL"} {
				if verb == "DEL" {
					w.Must(w.call("ADD", ""))
				}
				w.killedAt(t, w.call(verb, ""), fmt.Sprintf("%s:signal=KILL:when=%d", syscall, n))
				w.Must(w.call("DEL", ""))
				w.home(t, fmt.Sprintf("%s was killed at %s number %d", verb, syscall, n))
			}
		}
	}
}

func (w world) killedAt(t *testing.T, c kerneltest.Call, moment string) {
	t.Helper()
	cmd := exec.Command("strace", "-f", "-qq", "-o", "/dev/null", "-e", "inject="+moment, filepath.Join(c.Bin, c.Plugin))
	cmd.Env = []string{"GOMAXPROCS=1", "CNI_PATH=" + c.Bin, "CNI_COMMAND=" + c.Verb, "CNI_CONTAINERID=c1", "CNI_IFNAME=eth0", "CNI_NETNS=" + w.Pod}
	cmd.Stdin = strings.NewReader(c.Conf)
	_ = cmd.Run()
}
