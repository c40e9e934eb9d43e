package node

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
)

// Text is all that the namespace's network consists of, a fact a line, sorted: links, addresses, routes, rules of policy
// routing, forwarding, and nftables with what iptables put there. Whatever changes by itself (counters, indexes, the
// progress of duplicate address detection) is left out, so that two texts can be compared.
func (s *Space) Text() (string, error) {
	var lines []string
	for _, part := range []func() ([]string, error){s.links, s.routes, s.sysctls, s.nft} {
		more, err := part()
		if err != nil {
			return "", err
		}
		lines = append(lines, more...)
	}
	return join(lines), nil
}

// Text is the text of the node's network and of the files in the folders that are its own.
func (n *Node) Text() (string, error) {
	network, err := n.Space.Text()
	if err != nil {
		return "", err
	}
	files, err := n.files()
	if err != nil {
		return "", err
	}
	return network + join(files), nil
}

func join(lines []string) string {
	slices.Sort(lines)
	var b strings.Builder
	for _, line := range lines {
		b.WriteString(line + "\n")
	}
	return b.String()
}

// Diff gives the lines that only the one and only the other of two texts holds.
func Diff(before, after string) (gone, come []string) {
	count := map[string]int{}
	for line := range strings.Lines(before) {
		count[line]--
	}
	for line := range strings.Lines(after) {
		count[line]++
	}
	for line, n := range count {
		line = strings.TrimSuffix(line, "\n")
		for ; n < 0; n++ {
			gone = append(gone, line)
		}
		for ; n > 0; n-- {
			come = append(come, line)
		}
	}
	slices.Sort(gone)
	slices.Sort(come)
	return gone, come
}

// Left sorts what has changed between two texts of a node on which every pod has come and gone again. Shared is what the
// pods of a node have in common and what therefore may stay: the bridges that are named, the part of our nftables tables
// that belongs to no pod, forwarding, empty folders, locks and host-local's memory of the last address. With the iptables
// backends it is the built-in chains, the administrator's, and the three chains of all port mappings. Whatever else has
// changed was left behind by a pod, or was taken from another.
func Left(before, after string, bridges ...string) (shared, left []string) {
	gone, come := Diff(before, after)
	for _, line := range gone {
		// Of these the new value is named.
		if !strings.HasPrefix(line, "sysctl ") && !sharedFile.MatchString(line) {
			left = append(left, "missing: "+line)
		}
	}
	for _, line := range come {
		if isShared(line, bridges) {
			shared = append(shared, line)
		} else {
			left = append(left, line)
		}
	}
	return shared, left
}

var (
	sharedFile = regexp.MustCompile(`^file \S+(/catena/nft/ready/\S+|/catena/nft/forwardrules/rules|/lock|/last_reserved_ip\.\S+|\.lock) `)
	sharedLine = regexp.MustCompile(`^(` + strings.Join([]string{
		`dir `,
		`sysctl net/ipv[46]/.*forward`,
		`nft table `,
		`nft (chain|rule|set|map|counter) \w+ catena `,
		`nft rule \w+ .*"comment":"catena: pods `,
		`nft element \w+ catena (layout[0-9]+|samesubnet[46]_[0-9]+|localnet|addrports) `,
		`nft chain (ip|ip6|bridge) (nat|filter|mangle|raw) (PREROUTING|INPUT|FORWARD|OUTPUT|POSTROUTING) `,
		`nft chain (ip|ip6) filter CNI-ADMIN$`,
		`nft chain (ip|ip6) nat CNI-HOSTPORT-(DNAT|MASQ|SETMARK)$`,
		`nft rule (ip|ip6) nat CNI-HOSTPORT-(MASQ|SETMARK) `,
		`nft rule (ip|ip6) nat (PREROUTING|OUTPUT|POSTROUTING) .*"jump":\{"target":"CNI-HOSTPORT-(DNAT|MASQ)"\}`,
	}, "|") + `)`)
)

func isShared(line string, bridges []string) bool {
	fields := strings.Fields(line)
	for _, bridge := range bridges {
		switch fields[0] {
		case "link", "addr":
			if fields[1] == bridge {
				return true
			}
		case "route4", "route6":
			if i := slices.Index(fields, "dev"); i >= 0 && fields[i+1] == bridge {
				return true
			}
		case "sysctl":
			if strings.Contains(fields[1], "/conf/"+bridge+"/") {
				return true
			}
		}
	}
	return sharedFile.MatchString(line) || sharedLine.MatchString(line)
}

func (s *Space) links() ([]string, error) {
	out, err := s.Run("ip", "-j", "-d", "addr")
	if err != nil {
		return nil, err
	}
	var links []struct {
		Ifname      string
		Address     string
		Mtu         int
		Flags       []string
		Master      string
		Ifalias     string
		Promiscuity int
		Txqlen      int
		Linkinfo    struct {
			InfoKind      string          `json:"info_kind"`
			InfoSlaveData json.RawMessage `json:"info_slave_data"`
		}
		AddrInfo []struct {
			Local     string
			Prefixlen int
			Scope     string
			Label     string
		} `json:"addr_info"`
	}
	if err := json.Unmarshal([]byte(out), &links); err != nil {
		return nil, fmt.Errorf("ip -j addr: %w", err)
	}
	var lines []string
	for _, l := range links {
		if l.Ifname == "" {
			continue
		}
		line := fmt.Sprintf("link %s kind=%s mac=%s mtu=%d txqlen=%d", l.Ifname, l.Linkinfo.InfoKind, l.Address, l.Mtu, l.Txqlen)
		if l.Master != "" {
			line += " master=" + l.Master
		}
		if l.Ifalias != "" {
			line += fmt.Sprintf(" alias=%q", l.Ifalias)
		}
		for _, flag := range []string{"UP", "PROMISC", "ALLMULTI"} {
			if slices.Contains(l.Flags, flag) {
				line += " " + strings.ToLower(flag)
			}
		}
		lines = append(lines, line)
		for _, a := range l.AddrInfo {
			if strings.HasPrefix(a.Local, "fe80:") {
				continue // comes by itself, some time after the link
			}
			line := fmt.Sprintf("addr %s %s/%d scope=%s", l.Ifname, a.Local, a.Prefixlen, a.Scope)
			if a.Label != "" && a.Label != l.Ifname {
				line += " label=" + a.Label
			}
			lines = append(lines, line)
		}
	}
	return lines, nil
}

// kernelsOwn are the IPv6 routes that come with any link that is up, with its addresses and with forwarding, at a moment of
// the kernel's choice. The link, the addresses and the forwarding have lines of their own.
var kernelsOwn = regexp.MustCompile(`^(anycast |(local )?fe80:|multicast ff00::/8 |local [0-9a-f:]+ dev \S+ table local proto kernel )`)

// rules begin with their priority.
var rules = regexp.MustCompile(`^[0-9]+:\t`)

// moods are the words of a route that come and go with the carrier.
var moods = strings.NewReplacer(" linkdown", "", " dead", "")

func (s *Space) routes() ([]string, error) {
	var lines []string
	for _, family := range []string{"4", "6"} {
		out, err := s.RunWith(nil, "route show table all\nrule show\n", "ip", "-"+family, "-batch", "-")
		if err != nil {
			return nil, err
		}
		for line := range strings.Lines(out) {
			if kernelsOwn.MatchString(line) {
				continue
			}
			what := "route"
			if rules.MatchString(line) {
				what = "rule"
			}
			lines = append(lines, what+family+" "+strings.Join(strings.Fields(moods.Replace(line)), " "))
		}
	}
	return lines, nil
}

// sysctls reads what plugins are known to set outside of the pod.
func (s *Space) sysctls() ([]string, error) {
	var lines []string
	err := s.Do(func() error {
		keys := []string{"net/ipv4/ip_forward", "net/core/somaxconn"}
		for _, pattern := range []string{"net/ipv6/conf/*/forwarding", "net/ipv4/conf/*/route_localnet"} {
			found, err := filepath.Glob("/proc/sys/" + pattern)
			if err != nil {
				return err
			}
			for _, path := range found {
				keys = append(keys, strings.TrimPrefix(path, "/proc/sys/"))
			}
		}
		for _, key := range keys {
			value, err := os.ReadFile("/proc/sys/" + key)
			if err != nil {
				return err
			}
			lines = append(lines, "sysctl "+key+" = "+strings.TrimSpace(string(value)))
		}
		return nil
	})
	return lines, err
}

// nft reads the JSON form, whose lists do not depend on line breaks, commas or the order of elements.
func (s *Space) nft() ([]string, error) {
	out, err := s.Run("nft", "-j", "-s", "list", "ruleset")
	if err != nil {
		return nil, err
	}
	var all struct {
		Nftables []map[string]map[string]json.RawMessage
	}
	if err := json.Unmarshal([]byte(out), &all); err != nil {
		return nil, fmt.Errorf("nft -j list ruleset: %w", err)
	}
	var lines []string
	for _, object := range all.Nftables {
		for kind, fields := range object {
			if kind == "metainfo" {
				continue
			}
			word := func(key string) string {
				var text string
				if json.Unmarshal(fields[key], &text) != nil {
					return ""
				}
				delete(fields, key)
				return text
			}
			delete(fields, "handle")
			line := "nft " + kind + " " + word("family")
			if table := word("table"); table != "" {
				line += " " + table
			}
			if chain := word("chain"); chain != "" {
				line += " " + chain
			}
			if name := word("name"); name != "" {
				line += " " + name
			}
			var elements []json.RawMessage
			if json.Unmarshal(fields["elem"], &elements) == nil {
				delete(fields, "elem")
			}
			owner := strings.Replace(line, "nft "+kind, "nft element", 1)
			for _, element := range elements {
				lines = append(lines, owner+" "+compact(element))
			}
			rest, err := json.Marshal(fields)
			if err != nil {
				return nil, err
			}
			if len(fields) > 0 {
				line += " " + compact(rest)
			}
			lines = append(lines, line)
		}
	}
	return lines, nil
}

func compact(text json.RawMessage) string {
	var b bytes.Buffer
	if json.Compact(&b, text) != nil {
		return string(text)
	}
	return b.String()
}

// files lists the private folders: each file with its size and the beginning of its hash.
func (n *Node) files() ([]string, error) {
	var lines []string
	err := n.Do(func() error {
		for _, top := range private {
			err := filepath.WalkDir(top, func(path string, entry fs.DirEntry, err error) error {
				switch {
				case err != nil:
					return err
				case path == top || path == "/run/netns/outside":
				case entry.IsDir():
					lines = append(lines, "dir "+path)
				case entry.Type().IsRegular():
					if filepath.Dir(path) == "/run/netns" {
						lines = append(lines, "netns "+path)
						return nil
					}
					text, err := os.ReadFile(path)
					if err != nil {
						return err
					}
					lines = append(lines, fmt.Sprintf("file %s %d bytes %.4x", path, len(text), sha256.Sum256(text)))
				default:
					lines = append(lines, fmt.Sprintf("%s %s", entry.Type(), path))
				}
				return nil
			})
			if err != nil {
				return err
			}
		}
		return nil
	})
	return lines, err
}
