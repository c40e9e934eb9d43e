package main

import (
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"

	"github.com/containernetworking/cni/libcni"

	"github.com/catena-cni/catena/integration/node"
)

// verbs are those that are measured where a scenario does not say which.
var verbs = []string{"ADD", "CHECK", "DEL"}

// scenario is what the contenders do, and how well ours is to do it.
type scenario struct {
	name     string
	conf     string // a .conflist's text
	ports    int    // host ports of each pod
	standing int    // pods that are attached before, and stay
	leases   int    // of host-local's that are there before
	together int    // pods at a time, at least 1
	rounds   int
	verbs    []string
	needs    string // the kind of link that the kernel must have, as ip link add takes it
	prepare  string // a script that is run on each node
	goals    limits
	counts   bool // count what is asked of the kernel, too
}

// limits are the most that our median may be, by verb, as a multiple of upstream's.
type limits map[string]float64

// measure has all contenders make the same calls, in turn, and compares ours with the others.
func (s scenario) measure(o options) ([]row, error) {
	list, err := node.Parse([]byte(s.conf), "")
	if err != nil {
		return nil, err
	}
	contenders, err := s.contenders(o)
	defer closeAll(contenders)
	if err != nil {
		return nil, err
	}
	if s.needs != "" {
		probe := append([]string{"link", "add", "probe", "link", "uplink", "type"}, strings.Fields(s.needs)...)
		if _, err := contenders[0].node.Run("ip", probe...); err != nil {
			return []row{{scenario: s.name, note: "this kernel has no " + strings.Fields(s.needs)[0]}}, nil
		}
		if _, err := contenders[0].node.Run("ip", "link", "del", "probe"); err != nil {
			return nil, err
		}
	}
	for _, c := range contenders {
		if err := s.furnish(c, list); err != nil {
			return nil, err
		}
	}
	settle()
	costs, notes, err := s.play(contenders, list, max(1, int(float64(s.rounds)*o.rounds)))
	if err != nil {
		return nil, err
	}
	return s.compare(costs, notes), nil
}

// contenders are ours and upstream's.
func (s scenario) contenders(o options) (out []*contender, err error) {
	add := func(c *contender, e error) {
		if e == nil {
			out = append(out, c)
		} else if err == nil {
			err = e
		}
	}
	add(plugins(nameOurs, o.ours))
	add(plugins(nameTheirs, o.theirs))
	return out, err
}

// The names of the contenders, as the table has them.
const (
	nameOurs   = "ours"
	nameTheirs = "upstream's"
)

// standingTogether is how many of the pods that stay are attached at a time.
const standingTogether = 20

// furnish brings a node into the state that the scenario starts from.
func (s scenario) furnish(c *contender, list *libcni.NetworkConfigList) error {
	if s.prepare != "" {
		if _, err := c.node.Run("sh", "-ec", s.prepare); err != nil {
			return err
		}
	}
	if s.leases > 0 {
		if err := c.node.Do(func() error { return writeLeases(list.Name, s.leases) }); err != nil {
			return err
		}
	}
	standing := s.standing
	if s.together > 1 {
		standing = max(standing, 1)
	}
	for attached, n := 0, 1; attached < standing; attached, n = attached+n, min(standing-attached-n, standingTogether) {
		// The first one alone makes what all share: of upstream's, several at once fail over that.
		pods, err := c.attachments(n, list, s.ports)
		if err != nil {
			return err
		}
		if _, err := c.together("ADD", pods); err != nil {
			return err
		}
	}
	return nil
}

// writeLeases writes the files that a host-local has for as many containers, from 10.0.0.2 on.
func writeLeases(network string, n int) error {
	folder := filepath.Join("/var/lib/cni/networks", network)
	if err := os.MkdirAll(folder, 0o755); err != nil {
		return err
	}
	at := ""
	for i := range n {
		at = fmt.Sprintf("10.%d.%d.%d", (i+2)>>16, (i+2)>>8&0xff, (i+2)&0xff)
		if err := os.WriteFile(filepath.Join(folder, at), fmt.Appendf(nil, "%064x\r\neth0", i), 0o600); err != nil {
			return err
		}
	}
	return os.WriteFile(filepath.Join(folder, "last_reserved_ip.0"), []byte(at), 0o600)
}

// play makes the calls, round for round, and gives what each cost, by verb and contender. In every other round the
// contenders come in the opposite order. A call that fails costs nothing and is told of; those of ours must not fail.
func (s scenario) play(contenders []*contender, list *libcni.NetworkConfigList, rounds int) (map[string]map[string][]cost, map[string]string, error) {
	costs, notes := map[string]map[string][]cost{}, map[string]string{}
	pods := map[*contender][]node.Attachment{}
	for _, c := range contenders {
		all, err := c.attachments((rounds+1)*s.together, list, s.ports)
		if err != nil {
			return nil, nil, err
		}
		pods[c] = all
	}
	for round := range rounds + 1 {
		order := slices.Clone(contenders)
		if round%2 == 1 {
			slices.Reverse(order)
		}
		for _, verb := range s.verbs {
			for _, c := range order {
				spent, err := c.together(verb, pods[c][round*s.together:][:s.together])
				if err != nil && (c.name != nameTheirs || verb == "ADD") {
					return nil, nil, err
				}
				if err != nil {
					notes[verb], spent = err.Error(), cost{}
				}
				if round == 0 {
					continue // it makes what all pods share
				}
				if costs[verb] == nil {
					costs[verb] = map[string][]cost{}
				}
				costs[verb][c.name] = append(costs[verb][c.name], spent)
			}
		}
		runtime.GC()
	}
	return costs, notes, nil
}

// compare makes rows of the table.
func (s scenario) compare(costs map[string]map[string][]cost, notes map[string]string) (rows []row) {
	for _, verb := range s.verbs {
		of := costs[verb]
		rows = append(rows, row{scenario: s.name, verb: verb, ours: of[nameOurs], against: nameTheirs, theirs: of[nameTheirs], goal: s.goals[verb], note: notes[verb]})
	}
	return rows
}
