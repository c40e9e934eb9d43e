package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestFormerValueIsLost: a former value that cannot be read cannot be put back, so
// nothing is changed. A secret that is not set has no value.
func TestFormerValueIsLost(t *testing.T) {
	w := newWorld(t)
	before := w.Text()
	const keys = `,"mtu":1400,"sysctl":{"net.core.somaxconn":"1000"}`
	plain, wrapped := w.bin, t.TempDir()
	script := fmt.Sprintf("#!/bin/sh\nexec /usr/bin/strace -f -qq -o %[1]s/trace -P /proc/sys/net/core/somaxconn -e trace=read -e inject=read:error=EIO:when=1 %[2]s/tuning\n", wrapped, plain)
	if err := os.WriteFile(filepath.Join(wrapped, "tuning"), []byte(script), 0o700); err != nil {
		t.Fatal(err)
	}
	w.bin = wrapped
	w.fails("ADD", keys, 100, "net/core/somaxconn", "input/output error")
	if trace := w.Run("cat " + wrapped + "/trace"); !strings.Contains(trace, "INJECTED") {
		t.Errorf("nothing failed: %s", trace)
	}
	w.bin = plain
	w.must("ADD", keys)
	w.must("DEL", keys)
	w.Same("DEL", before, w.Text())
	const secret = `,"sysctl":{"net.ipv6.conf.IFNAME.stable_secret":"2001:0db8:0000:0000:0000:0000:0000:0001"}`
	w.must("ADD", secret)
	w.must("CHECK", secret)
	w.must("DEL", secret)
}

// TestSavedValuesOfTheMachine: DEL puts nothing back that ADD would not have
// changed, whatever the file says, and goes on with the others.
func TestSavedValuesOfTheMachine(t *testing.T) {
	w := newWorld(t)
	before := w.Text()
	// What would be written is a file of the test's own.
	w.Run("mount -t tmpfs tmpfs /proc/sys/kernel; echo before > /proc/sys/kernel/probe")
	for _, key := range []string{"kernel/probe", "net/../kernel/probe", "net/./../kernel/probe", "../sys/kernel/probe", "/proc/sys/kernel/probe"} {
		w.must("ADD", some)
		w.Run(`sed -i 's|"sysctl": \[|"sysctl": [{"Key":"` + key + `","Value":"after"},|' ` + record + "; grep -q probe " + record)
		if a := w.must("DEL", some); !strings.Contains(a.Stderr, key) {
			t.Errorf("it is not said that %s is left out: %s", key, a.Stderr)
		}
		w.Has("cat /proc/sys/kernel/probe", "before")
		w.Same("DEL", before, w.Text())
	}
}

// TestSavedValueThatIsRefused: a value that the kernel will never take does not
// keep the pod from ending, nor the other settings from coming back.
func TestSavedValueThatIsRefused(t *testing.T) {
	w := newWorld(t)
	const keys = `,"mtu":1400,"sysctl":{"net.ipv4.ip_local_port_range":"2000 3000","net.core.somaxconn":"1000"}`
	w.must("ADD", keys)
	w.Run(`sed -i 's|"mtu": 1500|"mtu": 70000|; s|"Value": "4096"|"Value": "many"|' ` + record + "; grep -q 70000 " + record + "; grep -q many " + record)
	a := w.must("DEL", keys)
	for _, what := range []string{"eth0", "somaxconn=many", "cannot be put back"} {
		if !strings.Contains(a.Stderr, what) {
			t.Errorf("%q is not said: %s", what, a.Stderr)
		}
	}
	w.Lacks("pod sysctl -n net.ipv4.ip_local_port_range", "2000")
	if there(record) {
		t.Error("the file is there still")
	}
}
