package plugintest

import (
	"fmt"
	"net/netip"
	"runtime"
	"slices"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// linear holds what a plugin does with long lists, its own and those of the plugins before it, against what it does with
// shorter ones: 16 times as much, and not 256 times. What counts is the thread's time on a processor.
func linear(f *testing.F, name string, do func(stdin []byte), shapes ...any) {
	f.Helper()
	cost := func(list string, n int) time.Duration {
		stdin := long(f, name, list, n, shapes...)
		least := time.Hour
		for range 3 {
			began := spent(f)
			do(stdin)
			least = min(least, spent(f)-began)
		}
		return least
	}
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	for _, list := range []string{"ips", "routes", "interfaces", "own"} {
		few, many := cost(list, 250), cost(list, 4000)
		if many > 50*max(few, 4*time.Millisecond) {
			f.Errorf("16 times as many %s take %v instead of %v", list, many, few)
		}
	}
}

// long is a configuration with n of something: addresses, routes or interfaces of the result before, or of each list of
// the plugin's own.
func long(f *testing.F, name, list string, n int, shapes ...any) []byte {
	c := full(f, shapes...)
	var ips, routes, interfaces []any
	for i := range n {
		a := netip.AddrFrom4([4]byte{10, 1, byte(i >> 8), byte(i)}).String()
		ips = append(ips, map[string]any{"address": a + "/32"})
		routes = append(routes, map[string]any{"dst": a + "/32"})
		interfaces = append(interfaces, map[string]any{"name": fmt.Sprint("i", i), "sandbox": "/run/netns/c1"})
	}
	p := map[string]any{"cniVersion": "1.1.0", "ips": []any{map[string]any{"address": "10.9.9.9/24"}}, "interfaces": []any{map[string]any{"name": "eth0", "sandbox": "/run/netns/c1"}}}
	switch list {
	case "ips":
		p["ips"] = ips
	case "routes":
		p["routes"] = routes
	case "interfaces":
		p["interfaces"] = interfaces
	case "own":
		lengthen(c, n)
	}
	if list != "own" {
		c = map[string]any{}
	}
	c["prevResult"] = p
	return whole("1.1.0", name, c)
}

// lengthen repeats what is in each list.
func lengthen(v any, n int) {
	switch v := v.(type) {
	case map[string]any:
		for key, value := range v {
			lengthen(value, 1)
			if list, ok := value.([]any); ok && len(list) == 1 {
				v[key] = slices.Repeat(list, n)
			}
		}
	case []any:
		for _, value := range v {
			lengthen(value, 1)
		}
	}
}

// spent is the time that the thread has had.
func spent(f *testing.F) time.Duration {
	var u unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_THREAD, &u); err != nil {
		f.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
