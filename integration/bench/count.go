package main

import (
	"fmt"
	"os/exec"
	"strings"

	"github.com/catena-cni/catena/integration/node"
	"github.com/catena-cni/catena/integration/strace"
)

// counted is what one call of a contender asked of the kernel.
type counted struct {
	scenario, verb, who string
	calls               strace.Calls
	note                string
}

// canCount says before anything is measured what would be missed after it.
func canCount() error {
	if _, err := exec.LookPath("strace"); err != nil {
		return fmt.Errorf("the counts are made with strace: install it, or leave them out with -counts=false: %w", err)
	}
	return nil
}

// count has each contender make the calls for one pod, where another one is attached already: so what pods share is
// there. The calls are not measured; strace makes them slow.
func (s scenario) count(o options) (out []counted, err error) {
	list, err := node.Parse([]byte(s.conf), "")
	if err != nil {
		return nil, err
	}
	contenders, err := s.contenders(o)
	defer closeAll(contenders)
	if err != nil {
		return nil, err
	}
	for _, c := range contenders {
		pods, err := c.attachments(2, list, s.ports)
		if err != nil {
			return nil, err
		}
		if _, err := c.together("ADD", pods[:1]); err != nil {
			return nil, err
		}
		for _, verb := range s.verbs {
			one := counted{scenario: s.name, verb: verb, who: c.name}
			one.calls, err = strace.Record(func() error {
				_, err := c.together(verb, pods[1:])
				return err
			})
			if err != nil && (c.name != nameTheirs || verb == "ADD") {
				return nil, err
			}
			if err != nil {
				one.note = err.Error()
			}
			out = append(out, one)
		}
	}
	return out, nil
}

// countTable is the counts in Markdown.
func countTable(all []counted) string {
	if len(all) == 0 {
		return ""
	}
	var b strings.Builder
	b.WriteString("\nWhat a call for the second pod asks of the kernel: programs executed; requests that hold the kernel's lock for all of the " +
		"network's configuration (RTNL); messages to nftables; lists; files written to the disk at once.\n\n")
	b.WriteString("| case | verb | who | programs | RTNL | nftables | lists | fsync |\n|---|---|---|---|---|---|---|---|\n")
	for _, c := range all {
		if c.note != "" {
			fmt.Fprintf(&b, "| %s | %s | %s | %s | | | | |\n", c.scenario, c.verb, c.who, cell(c.note))
			continue
		}
		fmt.Fprintf(&b, "| %s | %s | %s | %d | %d | %d | %d | %d |\n", c.scenario, c.verb, c.who,
			len(c.calls.Programs), c.calls.RTNL(), c.calls.Nftables(), c.calls.Dumps(), c.calls.Syncs)
	}
	return b.String()
}
