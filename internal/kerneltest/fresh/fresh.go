// Package fresh makes the settings of a new network namespace those that the kernel was built with. The kernel copies
// most of IPv4's from the machine's first namespace, and some of IPv6's where net.core.devconf_inherit_init_net asks for
// it: on a machine that forwards, such as one with Docker, every new namespace forwards too. Tests and demonstrations
// make all their namespaces so.
package fresh

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// ipv4 are the settings of net/ipv4/conf that are not 0.
var ipv4 = map[string]string{
	"accept_redirects": "1", "arp_evict_nocarrier": "1", "igmpv2_unsolicited_report_interval": "10000", "igmpv3_unsolicited_report_interval": "1000",
	"secure_redirects": "1", "send_redirects": "1", "shared_media": "1",
}

// ipv6 are those of net/ipv6/conf that are often changed.
var ipv6 = map[string]string{
	"accept_ra": "1", "accept_ra_defrtr": "1", "accept_ra_pinfo": "1", "accept_redirects": "1", "accept_source_route": "0", "addr_gen_mode": "0",
	"autoconf": "1", "dad_transmits": "1", "disable_ipv6": "0", "forwarding": "0", "keep_addr_on_down": "0", "use_tempaddr": "0",
}

// Settings writes those of the calling thread's network namespace, where no links are yet but lo. It is the thread's
// /proc/sys that is written.
func Settings() error {
	for _, who := range []string{"all", "default", "lo"} {
		dir := "/proc/sys/net/ipv4/conf/" + who
		keys, err := os.ReadDir(dir)
		if err != nil {
			return fmt.Errorf("settings of a new namespace: %w", err)
		}
		for _, key := range keys {
			want := ipv4[key.Name()]
			switch {
			case key.Name() == "mc_forwarding", who == "lo" && strings.HasPrefix(key.Name(), "disable_"):
				continue // read-only, and the loopback's own
			case key.Name() == "accept_source_route" && who != "all":
				want = "1"
			case want == "":
				want = "0"
			}
			if err := write(filepath.Join(dir, key.Name()), want); err != nil {
				return err
			}
		}
		for key, want := range ipv6 {
			err := write(filepath.Join("/proc/sys/net/ipv6/conf", who, key), want)
			if err != nil && !errors.Is(err, fs.ErrNotExist) { // a kernel without IPv6, or an older one
				return err
			}
		}
	}
	return nil
}

// write leaves a file alone that holds the value already.
func write(file, want string) error {
	got, err := os.ReadFile(file)
	if err == nil && strings.TrimSpace(string(got)) != want {
		err = os.WriteFile(file, []byte(want), 0)
	}
	if err != nil {
		return fmt.Errorf("settings of a new namespace: %w", err)
	}
	return nil
}
