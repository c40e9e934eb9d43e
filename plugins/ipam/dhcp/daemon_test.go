package main

import (
	"encoding/json"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/catena-cni/catena/internal/cni"
	"github.com/catena-cni/catena/internal/kerneltest"
	"github.com/catena-cni/catena/internal/state/name"
)

// dhcp is a call of the plugin itself, as another main plugin makes it.
func (w world) call(verb, conf string) kerneltest.Call {
	return kerneltest.Call{Bin: w.bin, Plugin: "dhcp", Verb: verb, Conf: conf}
}

// TestNoDaemon: the error says what to start, STATUS says it before any pod
// fails, and no pod's end waits for it.
func TestNoDaemon(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for verb, plugin := range map[string]string{"ADD": "bridge", "STATUS": "bridge"} {
		a := w.Call(kerneltest.Call{Bin: w.bin, Plugin: plugin, Verb: verb, Conf: conf()})
		if a.Code != cni.CodeNotReady || !strings.Contains(a.Msg, "the DHCP daemon is not running") || !strings.Contains(a.Details, "dhcp daemon") {
			t.Errorf("%s: %d %s (%s)", verb, a.Code, a.Msg, a.Details)
		}
	}
	// A socket that a killed daemon left is no daemon either.
	daemon := w.daemon()
	w.Must(w.call("STATUS", conf()))
	_ = daemon.stop(syscall.SIGKILL)
	if a := w.Call(w.call("STATUS", conf())); a.Code != cni.CodeNotReady {
		t.Errorf("STATUS after the daemon was killed: %d %s", a.Code, a.Msg)
	}
	for _, verb := range []string{"DEL", "GC"} {
		w.Must(w.call(verb, with(strings.TrimSuffix(conf(), "}")+`,"cni.dev/valid-attachments":[]}`, cni.NewResult())))
	}
	w.daemon()
	w.Must(w.call("STATUS", conf()))
}

// TestKilledDaemon: one that is killed and started again goes on with the leases
// of the pods that live, and gives back those of the others: of one whose
// namespace has gone, and of one that lost its interface.
func TestKilledDaemon(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	kea := w.kea(1, 60, 90)
	daemon := w.daemon()
	pods := map[string]string{"c1": w.Pod}
	for _, id := range []string{"gone", "bare"} {
		pods[id] = filepath.Join(filepath.Dir(w.Pod), id)
		w.NewPod(pods[id])
	}
	addrs := map[string]string{}
	for id, netns := range pods {
		a := w.Must(kerneltest.Call{Bin: w.bin, Plugin: "bridge", ContainerID: id, Netns: netns, Conf: conf()})
		addrs[id] = w.result(a).IPs[0].Address.IP.String()
	}
	_ = daemon.stop(syscall.SIGKILL)
	w.Run("umount " + pods["gone"] + " && nsenter --net=" + pods["bare"] + " ip link del eth0")
	renewals := len(kea.all("DHCP4_LEASE_(ALLOC|REUSE|ADVERT).*" + addrs["c1"]))

	daemon = w.daemon()
	for _, id := range []string{"gone", "bare"} {
		kea.hears(1, "DHCP4_RELEASE .*"+addrs[id])
		daemon.hears(1, "net/"+id+"/eth0: the pod has gone")
	}
	// Its Renew time has passed, so it is asked for at once.
	kea.hears(renewals+1, "DHCP4_LEASE_(ALLOC|REUSE|ADVERT).*"+addrs["c1"])
	if got := w.address(); got != addrs["c1"]+"/24" {
		t.Errorf("the pod has %s", got)
	}
	// The same call again is given the same lease, and DEL gives it back.
	a := w.Must(kerneltest.Call{Bin: w.bin, Plugin: "dhcp", Conf: conf()})
	if r := w.result(a); r.IPs[0].Address.IP.String() != addrs["c1"] {
		t.Errorf("asked again: %v", r.IPs)
	}
	w.del()
	kea.hears(1, "DHCP4_RELEASE .*"+addrs["c1"])
	if left := w.records(); len(left) != 0 {
		t.Errorf("left: %v", left)
	}
}

// TestReboot: a daemon that finds the leases of all the pods of an earlier boot
// gives them all back.
func TestReboot(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	server := w.dnsmasq(range4(50, 99))
	daemon := w.daemon()
	w.add()
	record, err := json.Marshal(w.record("c1"))
	if err != nil {
		t.Fatal(err)
	}
	_ = daemon.stop(syscall.SIGKILL)
	const many = 300
	for i := range many {
		id := fmt.Sprint("old", i)
		text := strings.NewReplacer(`"containerID":"c1"`, `"containerID":"`+id+`"`, `"boot":"`, `"boot":"x`).Replace(string(record))
		key := name.Attachment{Network: "net", ContainerID: id, IfName: "eth0"}.Key()
		if err := os.WriteFile("/var/lib/cni/dhcp/"+key, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	daemon = w.daemon()
	daemon.hears(many, "^net/old.*giving back")
	server.hears(many, "DHCPRELEASE")
	w.settled("[ $(ls /var/lib/cni/dhcp | wc -l) = 1 ]")
	w.Must(w.call("STATUS", conf()))
	w.del()
}

// TestForeignRecords: what is no record is left alone, and keeps nobody from
// starting.
func TestForeignRecords(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.Run("mkdir -p /var/lib/cni/dhcp/folder; cd /var/lib/cni/dhcp; echo rubbish >rubbish; : >empty; echo null >null; echo '{}' >nobody; head -c 5000000 /dev/zero >zeros")
	before := w.Run("cd /var/lib/cni/dhcp; sha256sum rubbish empty null nobody zeros")
	daemon := w.daemon()
	daemon.hears(1, "rubbish: it is no record")
	if after := w.Run("cd /var/lib/cni/dhcp; sha256sum rubbish empty null nobody zeros"); after != before {
		t.Errorf("changed:\n%s\n%s", before, after)
	}
}

// TestNothingIsHeld: neither a lease nor an acquisition that was given up keeps a
// pod's namespace, and with it the host's end of its link, from going.
func TestNothingIsHeld(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	daemon := w.daemon()
	links := w.start("/sbin/ip", "monitor", "link")

	// No server answers, and the runtime loses patience.
	pending := w.Begin(kerneltest.Call{Bin: w.bin, Plugin: "bridge", Conf: conf()})
	links.hears(1, "veth.* master br0 state UP")
	pending.Kill()
	w.Run("umount -l " + w.Pod) // lazily, as the daemon need not have noticed yet
	links.hears(1, "^Deleted .*veth")

	pod := filepath.Join(filepath.Dir(w.Pod), "other")
	w.NewPod(pod)
	server := w.dnsmasq(range4(50, 99))
	call := kerneltest.Call{Bin: w.bin, Plugin: "bridge", ContainerID: "c2", Netns: pod, Conf: conf()}
	w.Must(call)
	w.NewPod(pod + "3")
	third := call
	third.ContainerID, third.Netns = "c3", pod+"3"
	w.Must(third)
	w.Run("umount " + pod + " " + pod + "3") // not lazily: once it has answered, the daemon has nothing open there
	links.hears(3, "^Deleted .*veth")
	if n := fds(t, daemon); n > 12 {
		t.Errorf("the daemon has %d open files", n)
	}
	// GC gives back what no DEL came for.
	w.Must(w.call("GC", strings.TrimSuffix(conf(), "}")+`,"cni.dev/valid-attachments":[{"containerID":"c2","ifname":"eth0"}]}`))
	server.hears(1, "DHCPRELEASE")
	if len(w.records()) != 1 {
		t.Errorf("GC took a valid attachment's lease")
	}
	// And where nobody says who is valid, what is of a pod that is gone.
	w.Must(w.call("GC", conf()))
	server.hears(2, "DHCPRELEASE")
	if left := w.records(); len(left) != 0 {
		t.Errorf("left: %v", left)
	}
}

func fds(t *testing.T, p *process) int {
	files, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", p.cmd.Process.Pid))
	if err != nil {
		t.Fatal(err)
	}
	return len(files)
}

// TestNobodyAnswers: ADD ends at the daemon's limit and leaves nothing, and a
// DEL ends one that is under way.
func TestNobodyAnswers(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	before := w.Text()
	short := w.daemon("-resendtimeout", "2s", "-socketpath", "/run/short.sock", "-statedir", "/run/short")
	began := time.Now()
	a := w.Call(kerneltest.Call{Bin: w.bin, Plugin: "bridge", Conf: conf(`"daemonSocketPath":"/run/short.sock"`)})
	if a.Exit == 0 || !strings.Contains(a.Msg, "no server answers") || time.Since(began) > patience {
		t.Errorf("after %v: %s", time.Since(began), a.Msg)
	}
	_ = short.stop(syscall.SIGTERM)

	w.daemon("-statedir", "/run/long")
	links := w.start("/sbin/ip", "monitor", "link")
	pending := w.Begin(kerneltest.Call{Bin: w.bin, Plugin: "bridge", Conf: conf()})
	links.hears(1, "veth.* master br0 state UP")
	began = time.Now()
	w.del()
	if a := pending.Wait(); a.Exit == 0 || time.Since(began) > patience {
		t.Errorf("the ADD that a DEL met, after %v: %s", time.Since(began), a.Msg)
	}
	w.Run("rm -r /run/short /run/long")
	w.Same("no server", before, strings.ReplaceAll(w.Text(), "# /run/cni/dhcp.sock\n", ""))
}

// loseAnswers has the host lose each DHCPACK, by its first option, and each Reply of
// DHCPv6.
const loseAnswers = "nft 'table inet lost { chain out { type filter hook output priority 0; udp sport 67 @th,1984,24 0x350105 drop; udp sport 547 @th,64,8 7 drop; }; }'"

// TestAnswerIsLost: a server that has lent an address, and whose answer nobody waits
// for any more, gets it back: when the plugin is killed, and when a DEL comes.
func TestAnswerIsLost(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.six()
	kerneltest.NeedsPrograms(t, "nft")
	server := w.dnsmasq(range4(50, 99), "--dhcp-range=2001:db8::100,2001:db8::1ff,64,2m")
	w.daemon()
	w.Run(loseAnswers)
	for _, family := range []struct{ key, has string }{{`"family":["4"]`, subnet}, {`"family":["6"]`, "2001:db8::1"}} {
		for _, end := range []string{"killed", "DEL"} {
			pending := w.Begin(kerneltest.Call{Bin: w.bin, Plugin: "bridge", Conf: conf(family.key)})
			w.settled("grep -F " + family.has + " /run/dnsmasq.leases")
			if end == "killed" {
				pending.Kill()
			} else {
				w.del(family.key)
				if a := pending.Wait(); a.Exit == 0 {
					t.Errorf("%s: an ADD has succeeded that a DEL met", family.key)
				}
			}
			w.settled("! grep -F " + family.has + " /run/dnsmasq.leases")
			w.del(family.key)
		}
	}
	if n := server.count("DHCPRELEASE"); n != 4 {
		t.Errorf("%d releases", n)
	}
}

// TestProcess: the daemon's flags, socket and files.
func TestProcess(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for args, words := range map[string]string{
		"-pidfile relative": "must be an absolute path", "-timeout 0": "-timeout", "-timeout x": "invalid value", "-nonsense": "not defined", "start": `"start" is no argument`,
	} {
		out, err := w.Try(filepath.Join(w.bin, "dhcp") + " daemon " + args)
		if err == nil || !strings.Contains(out, words) {
			t.Errorf("%s: %v %s", args, err, out)
		}
	}
	first := w.daemon("-pidfile", "/run/dhcp.pid")
	if pid := w.Run("cat /run/dhcp.pid"); pid != fmt.Sprint(first.cmd.Process.Pid) {
		t.Errorf("the pid file has %q", pid)
	}
	if out := w.Run("stat -c '%a %F' /run/cni/dhcp.sock /run/cni /var/lib/cni/dhcp"); out != "660 socket\n700 directory\n700 directory\n" {
		t.Errorf("modes:\n%s", out)
	}
	for args, words := range map[string]string{"": "another daemon keeps the leases", "-statedir /run/other": "a daemon listens at /run/cni/dhcp.sock already"} {
		out, err := w.Try(filepath.Join(w.bin, "dhcp") + " daemon " + args)
		if err == nil || !strings.Contains(out, words) {
			t.Errorf("a second one %s: %v %s", args, err, out)
		}
	}
	if err := first.stop(syscall.SIGTERM); err != nil {
		t.Errorf("SIGTERM: %v", err)
	}
	if left, _ := w.Try("ls /run/dhcp.pid /run/cni/dhcp.sock 2>/dev/null"); left != "" {
		t.Errorf("left: %s", left)
	}
	// A killed one's socket is in nobody's way.
	_ = w.daemon().stop(syscall.SIGKILL)
	_ = w.daemon().stop(syscall.SIGTERM)
}

// TestHostPrefix: a daemon that sees the host's files below a folder.
func TestHostPrefix(t *testing.T) {
	t.Parallel()
	kerneltest.NeedsRoot(t, "dnsmasq, before / is mounted twice")
	w := newWorld(t)
	w.Run("mkdir -p /run/host && mount --rbind / /run/host")
	w.dnsmasq(range4(50, 99))
	w.daemon("-hostprefix", "/run/host")
	w.add()
	if r := w.record("c1"); r.Args.Netns != "/run/host"+w.Pod {
		t.Errorf("the record has %s", r.Args.Netns)
	}
	w.del()
	w.Run("umount -l /run/host")
}

// TestSocketActivation: the daemon takes the socket that systemd opened, and
// leaves it there for the next one.
func TestSocketActivation(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.dnsmasq(range4(50, 99))
	w.Run("mkdir -p /run/cni")
	l, err := net.Listen("unix", "/run/cni/dhcp.sock")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	file, err := l.(*net.UnixListener).File()
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	run := func(fds string) *process {
		// LISTEN_PID is the daemon's own, which the shell is before.
		cmd := exec.Command("/bin/sh", "-c", `LISTEN_PID=$$ exec "$0" daemon`, filepath.Join(w.bin, "dhcp"))
		cmd.Env = append(os.Environ(), "LISTEN_FDS="+fds)
		cmd.ExtraFiles = []*os.File{file, file}
		return w.begin(cmd)
	}
	daemon := run("1")
	daemon.hears(1, "^listening at")
	w.add()
	w.del()
	if err := daemon.stop(syscall.SIGTERM); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat("/run/cni/dhcp.sock"); err != nil {
		t.Errorf("systemd's socket: %v", err)
	}
	run("2").hears(1, "systemd hands over 2 sockets, and one is wanted")
}

// TestBroadcast: servers see the flag where it is asked for.
func TestBroadcast(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	server := w.dnsmasq(range4(50, 99))
	w.daemon("-broadcast")
	w.add()
	server.hears(1, "DHCPACK")
	if n := server.count("broadcast response"); n == 0 {
		t.Error("the server answers to one")
	}
}
