package hostlocal_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/catena-cni/catena/internal/kerneltest"
)

// two has room for two pods.
const two = `"subnet":"10.1.2.0/24","rangeStart":"10.1.2.2","rangeEnd":"10.1.2.3"`

// boot lets the calls that follow see another boot of the machine.
func boot(t *testing.T, s *kerneltest.Sandbox, id string) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "boot_id")
	must(t, os.WriteFile(file, []byte(id+"\n"), 0o444))
	s.Run("mount --bind " + file + " /proc/sys/kernel/random/boot_id")
	t.Cleanup(func() { s.Run("umount /proc/sys/kernel/random/boot_id") })
}

// TestEarlierBoot: after a power cut, of which no DEL came, the range is free
// for whoever comes, and each container that comes again has what it had.
func TestEarlierBoot(t *testing.T) {
	t.Parallel()
	s := kerneltest.New(t)
	for name, again := range map[string]bool{"the same containers": true, "others": false} {
		w := aWorld(t)
		conf := w.conf("1.1.0", two)
		boot(t, s, "first")
		first := map[string]string{"a": w.add(t, "a", conf), "b": w.add(t, "b", conf)}
		_, _, err := w.run(binary, "STATUS", "", conf)
		wants(t, err, 50, "no address is free")

		boot(t, s, "second")
		_, _, err = w.run(binary, "STATUS", "", conf)
		must(t, err)
		for _, id := range []string{"b", "a"} {
			if !again {
				w.add(t, "new-"+id, conf)
				w.del(t, id, conf) // comes late, and takes nothing from others
			} else if got := w.add(t, id, conf); got != first[id] {
				t.Errorf("%s: %s got %s, and had %s", name, id, got, first[id])
			}
		}
		_, _, err = w.run(binary, "ADD", "c", conf)
		wants(t, err, 100, "2 held by 2 containers", "none of them provably gone")
		if got := len(strings.Fields(w.leases(t))); got != 2 {
			t.Errorf("%s: leases %s", name, w.leases(t))
		}
	}
}

// TestDeadNamespace: real network namespaces, that end without a DEL.
func TestDeadNamespace(t *testing.T) {
	t.Parallel()
	s := kerneltest.New(t)
	for name, end := range map[string]string{
		"unmounted":            "umount %s",
		"unmounted, removed":   "umount %[1]s && rm %[1]s",
		"another in its place": "umount %[1]s && mount --bind $POD %[1]s",
	} {
		w := aWorld(t)
		conf := w.conf("1.1.0", two)
		w.netns = s.Pod
		w.add(t, "alive", conf)
		dead := w
		dead.netns = filepath.Join(t.TempDir(), "dead")
		s.NewPod(dead.netns)
		had := dead.add(t, "dead", conf)
		_, _, err := w.run(binary, "ADD", "c", conf)
		wants(t, err, 100, "2 held by 2 containers")
		s.Run(fmt.Sprintf(end, dead.netns))
		if got := w.add(t, "c", conf); got != had {
			t.Errorf("%s: got %s, and %s is free", name, got, had)
		}
		w.del(t, "dead", conf)
		if got := w.leases(t); got != "10.1.2.2=alive|eth0 10.1.2.3=c|eth0" {
			t.Errorf("%s: leases %s", name, got)
		}
	}
}

// TestFilesOfNobody: what a power cut left of a lease is free; what somebody
// else put there stays, is not handed out, and stops no call.
func TestFilesOfNobody(t *testing.T) {
	t.Parallel()
	w := aWorld(t)
	conf := w.conf("1.1.0", `"subnet":"10.1.2.0/28"`)
	folder := filepath.Join(w.dir, "n")
	must(t, os.MkdirAll(folder, 0o755))
	for name, text := range map[string]string{
		"10.1.2.2": "", "10.1.2.3": "\x00\x00\x00", "10.1.2.4": "a\r\neth0\r\nand more", "10.1.2.5": strings.Repeat("x", 1<<20), "10.1.2.6": "half a li\xff",
		"10.1.2.7": "kept for the printer", "note.txt": "a\r\neth0", "last_reserved_ip.0": "\x00\x00", "010.1.2.2": "a\r\neth0", "10.1.2.2.bak": "a\r\neth0",
	} {
		must(t, os.WriteFile(filepath.Join(folder, name), []byte(text), 0o644))
	}
	must(t, os.Mkdir(filepath.Join(folder, "10.1.2.8"), 0o755))
	must(t, os.Symlink("/etc/passwd", filepath.Join(folder, "10.1.2.9")))
	kerneltest.New(t).Run("mkfifo " + folder + "/10.1.2.10")
	foreign := func() string {
		var names []string
		for _, name := range []string{"10.1.2.7", "10.1.2.8", "10.1.2.9", "10.1.2.10", "note.txt", "010.1.2.2", "10.1.2.2.bak"} {
			if _, err := os.Lstat(filepath.Join(folder, name)); err == nil {
				names = append(names, name)
			}
		}
		return strings.Join(names, " ")
	}
	before := foreign()

	given := map[string]bool{}
	for i := range 9 { // 2 to 6 and 11 to 14
		id := fmt.Sprint("c", i)
		given[w.add(t, id, conf)] = true
		_, _, err := w.run(binary, "CHECK", id, with(conf, `"prevResult":{"cniVersion":"1.1.0","ips":[]}`))
		must(t, err)
	}
	if len(given) != 9 || given["10.1.2.7"] || given["10.1.2.8"] || given["10.1.2.9"] || given["10.1.2.10"] {
		t.Errorf("given were %v", given)
	}
	_, _, err := w.run(binary, "ADD", "one-too-many", conf)
	wants(t, err, 100, "no address is free", folder, "compare the files")
	_, _, err = w.run(binary, "ADD", "wish", conf, "CNI_ARGS=IP=10.1.2.7")
	wants(t, err, 101, "in use by container kept for the printer", "rm "+folder+"/10.1.2.7")
	_, _, err = w.run(binary, "ADD", "wish", conf, "CNI_ARGS=IP=10.1.2.8")
	wants(t, err, 101, "10.1.2.8 is in use", "no plain file")
	w.del(t, "a", conf)
	for i := range 9 {
		w.del(t, fmt.Sprint("c", i), conf)
	}
	if got := foreign(); got != before {
		t.Errorf("of what is not ours there is left %s", got)
	}
	if got := w.leases(t); strings.Contains(got, "=c") {
		t.Errorf("left %s", got)
	}
}

// TestDiskFull fills small disks, and expects each ADD to have an address, or
// to leave nothing and say what is wrong.
func TestDiskFull(t *testing.T) {
	kerneltest.NeedsTime(t)
	t.Parallel()
	s := kerneltest.New(t)
	failed, worked := 0, 0
	for n := range 16 {
		for _, option := range []string{fmt.Sprint("nr_inodes=", n+2), fmt.Sprintf("size=%dk", 4*(n+1))} {
			w := aWorld(t)
			must(t, os.Mkdir(w.dir, 0o755))
			s.Run("mount -t tmpfs -o " + option + " tmpfs " + w.dir)
			conf := w.conf("1.1.0", twoSets+`,"stickyKey":"POD"`)
			add := func(id string) error {
				_, _, err := w.run(binary, "ADD", id, conf, "CNI_ARGS=IgnoreUnknown=1;POD="+id)
				return err
			}
			held := 0
			for i := range 4 {
				id := fmt.Sprint("c", i)
				if err := add(id); err != nil {
					failed++
					wants(t, err, 100, "no space left on device", w.dir, "with room for a file")
					if strings.Contains(w.leases(t), "="+id) {
						t.Errorf("%s: %s failed and has %s", option, id, w.leases(t))
					}
				} else {
					worked++
					held++
				}
			}
			if got := len(strings.Fields(w.leases(t))); got != 2*held {
				t.Errorf("%s: %d pods have %s", option, held, w.leases(t))
			}
			for i := range 4 {
				w.del(t, fmt.Sprint("c", i), conf)
			}
			if got := w.leases(t); got != "" {
				t.Errorf("%s: left %s", option, got)
			}
			s.Run("umount " + w.dir)
		}
	}
	t.Logf("%d ADDs worked, %d failed", worked, failed)
	if failed < 10 || worked < 10 {
		t.Error("the disks are not as small, or as large, as they should be")
	}
}

// TestReadOnly: a folder that cannot be written gives no address and loses
// none; when it can be written again a retry finishes.
func TestReadOnly(t *testing.T) {
	t.Parallel()
	s := kerneltest.New(t)
	w := aWorld(t)
	conf := w.conf("1.1.0", twoSets)
	first := w.add(t, "a", conf)
	before := w.text(t)
	s.Run("mount --bind " + w.dir + " " + w.dir + " && mount -o remount,bind,ro " + w.dir)
	for verb, code := range map[string]int{"ADD": 100, "DEL": 100, "STATUS": 50} {
		id := map[string]string{"ADD": "b", "DEL": "a"}[verb]
		_, _, err := w.run(binary, verb, id, conf)
		wants(t, err, code, "read-only file system", w.dir, "must be writable")
	}
	_, _, err := w.run(binary, "GC", "", with(conf, `"cni.dev/valid-attachments":[]`))
	wants(t, err, 100, "read-only file system", "must be writable")
	w.del(t, "nobody", conf)
	var ips []string
	for a := range strings.FieldsSeq(first) {
		ips = append(ips, `{"address":"`+a+`/64"}`)
	}
	_, _, err = w.run(binary, "CHECK", "a", with(conf, `"prevResult":{"cniVersion":"1.1.0","ips":[`+strings.Replace(strings.Join(ips, ","), "/64", "/24", 1)+`]}`))
	must(t, err)
	if got := w.text(t); got != before {
		t.Errorf("the folder became %s, and was %s", got, before)
	}
	s.Run("umount " + w.dir)
	w.del(t, "a", conf)
	if got := w.leases(t); got != "" {
		t.Errorf("left %s", got)
	}
}

// TestModes holds the modes of what is made, and that what is there keeps its.
func TestModes(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct{ before, data, folder os.FileMode }{
		"made here": {0, 0o700, 0o700}, "made by others": {0o755, 0o755, 0o755}, "open to all": {0o777, 0o777, 0o777},
	} {
		w := aWorld(t)
		folder := filepath.Join(w.dir, "n")
		if c.before != 0 {
			must(t, os.MkdirAll(folder, 0o700))
			must(t, os.Chmod(w.dir, c.before))
			must(t, os.Chmod(folder, c.before))
		}
		conf := w.conf("1.1.0", twoSets+`,"stickyKey":"POD"`)
		w.add(t, "a", conf, "CNI_ARGS=IgnoreUnknown=1;POD=web-0")
		w.add(t, "b", conf)
		w.del(t, "a", conf)
		_, _, err := w.run(binary, "GC", "", with(conf, `"cni.dev/valid-attachments":[{"containerID":"b","ifname":"eth0"}]`))
		must(t, err)
		files := 0
		must(t, filepath.WalkDir(w.dir, func(path string, d os.DirEntry, err error) error {
			must(t, err)
			st, err := os.Lstat(path)
			must(t, err)
			want := os.FileMode(0o600)
			switch {
			case path == w.dir:
				want = c.data
			case path == folder:
				want = c.folder
			case d.IsDir():
				want = 0o700
			case d.Type() == os.ModeSymlink:
				return nil // which has no mode of its own
			default:
				files++
			}
			if got := st.Mode().Perm(); got != want {
				t.Errorf("%s: the mode of %s is %o, and is to be %o", name, path, got, want)
			}
			return nil
		}))
		if files != 7 { // two leases, two names, the last of each set, the lock
			t.Errorf("%s: %d files", name, files)
		}
	}
}
