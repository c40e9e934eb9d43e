// Command demo shows the toolkit at work, a line for every step: it makes a node, attaches pods as a runtime does with the
// files of conflist-examples/, sends packets, checks, collects garbage, detaches, and proves that nothing is left. It
// needs root and touches nothing outside of its own namespaces. Its exit code is 1 if any step was not as it should be.
package main

import (
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/catena-cni/catena/integration/node"
	"github.com/containernetworking/cni/libcni"
	types100 "github.com/containernetworking/cni/pkg/types/100"
)

func main() {
	root, err := node.Root()
	if err != nil {
		root = "."
	}
	plugins := flag.String("plugins", filepath.Join(root, "bin"), "the `folder` of the plugins")
	file := flag.String("conf", filepath.Join(root, "conflist-examples", "10-kubernetes-node.conflist"), "the network's `file`")
	verbose := flag.Bool("v", false, "print every plugin's result in full")
	flag.Parse()

	d := &demo{verbose: *verbose}
	if err := d.run(*plugins, *file, filepath.Join(root, "conflist-examples", "99-loopback.conf")); err != nil {
		d.failed++
		fmt.Printf("\nThe demo stopped: %v\n", err)
	}
	fmt.Println()
	if d.failed > 0 {
		fmt.Printf("%d steps, %d of them not as they should be.\n", d.steps, d.failed)
		os.Exit(1)
	}
	fmt.Printf("%d steps, all as they should be.\n", d.steps)
}

type demo struct {
	steps, failed int
	verbose       bool
	calls         []node.Call
}

// step does one thing and prints a line with its time, and under it what plugins were called for it. What a step prints
// beside its name is what it found out.
func (d *demo) step(name string, do func() (found string, err error)) error {
	d.steps++
	d.calls = d.calls[:0]
	began := time.Now()
	found, err := do()
	took := time.Since(began)
	mark := "ok    "
	if err != nil {
		mark = "FAILED"
		d.failed++
	}
	if found != "" {
		found = ": " + found
	}
	fmt.Printf("%s %7s  %s%s\n", mark, millis(took), name, found)
	for _, c := range d.calls {
		d.call(c)
	}
	if err != nil {
		for line := range strings.Lines(err.Error()) {
			fmt.Printf("                  %s\n", strings.TrimRight(line, "\n"))
		}
	}
	return err
}

func (d *demo) call(c node.Call) {
	line := fmt.Sprintf("         %7s  %s %s", millis(c.Took), c.Plugin, c.Verb)
	if c.Err != nil {
		line += ": " + firstLine(c.Err.Error())
	} else if c.Verb == "ADD" {
		line += gained(c)
	}
	fmt.Println("  " + line)
	if d.verbose && len(c.Stdout) > 0 {
		for text := range strings.Lines(string(c.Stdout)) {
			fmt.Print("                    | ", strings.TrimRight(text, "\n"), "\n")
		}
	}
}

func millis(d time.Duration) string { return fmt.Sprintf("%.1f ms", float64(d.Microseconds())/1000) }

func firstLine(text string) string {
	line, _, _ := strings.Cut(text, "\n")
	return line
}

// result is what all versions of a result from 0.3.0 on have in common; the older ones have ip4 and ip6.
type result struct {
	Interfaces []struct{ Name, Mac, Sandbox string }
	IPs        []struct{ Address, Gateway string }
	Routes     []struct{ Dst, GW string }
	IP4        struct{ IP, Gateway string }
	IP6        struct{ IP, Gateway string }
}

func (r result) facts() []string {
	var facts []string
	for _, i := range r.Interfaces {
		where := ""
		if i.Sandbox != "" {
			where = " in the pod"
		}
		facts = append(facts, fmt.Sprintf("interface %s%s", i.Name, where))
	}
	for _, ip := range r.IPs {
		facts = append(facts, "ip "+ip.Address)
	}
	for _, ip := range []string{r.IP4.IP, r.IP6.IP} {
		if ip != "" {
			facts = append(facts, "ip "+ip)
		}
	}
	for _, route := range r.Routes {
		fact := "route " + route.Dst
		if route.GW != "" {
			fact += " via " + route.GW
		}
		facts = append(facts, fact)
	}
	return facts
}

// gained tells what a plugin's result has that the prevResult it was given had not.
func gained(c node.Call) string {
	var in struct{ PrevResult result }
	var out result
	if json.Unmarshal(c.Stdin, &in) != nil || json.Unmarshal(c.Stdout, &out) != nil {
		return ": the result is not JSON"
	}
	had := map[string]int{}
	for _, fact := range in.PrevResult.facts() {
		had[fact]++
	}
	var more []string
	for _, fact := range out.facts() {
		if had[fact]--; had[fact] < 0 {
			more = append(more, fact)
		}
	}
	if len(more) == 0 {
		return ": the result passes through"
	}
	return ": + " + strings.Join(more, ", ")
}

func (d *demo) run(plugins, file, loopback string) error {
	plugins, err := filepath.Abs(plugins)
	if err != nil {
		return err
	}
	fmt.Printf("Plugins of %s, network of %s\n", plugins, file)

	d.head("A node")
	var n *node.Node
	var before string
	if err := d.step("make a node, an outside, and an uplink between them", func() (found string, err error) {
		if n, err = node.New(); err != nil {
			return "", err
		}
		if err := n.Outside.Ping(node.Addr4); err != nil {
			return "", err
		}
		before, err = n.Text()
		return "node " + node.Addr4 + " " + node.Addr6 + ", outside " + node.Outside4 + " " + node.Outside6, err
	}); err != nil {
		return err
	}
	defer n.Close()
	r := n.Runtime(func(c node.Call) { d.calls = append(d.calls, c) }, plugins)

	// The example may be of an older version, for older runtimes; STATUS and GC exist since 1.1.0.
	asWritten, err := node.Load(file, "")
	if err != nil {
		return err
	}
	list, err := node.Load(file, "1.1.0")
	if err != nil {
		return err
	}
	lo, err := node.Load(loopback, "")
	if err != nil {
		return err
	}
	d.step("STATUS: is the network ready for pods", func() (string, error) { return "", r.Status(list) })

	d.head("Two pods")
	ports := []node.Port{{HostPort: 8080, ContainerPort: 80, Protocol: "tcp"}, {HostPort: 5353, ContainerPort: 80, Protocol: "udp"}}
	web, err := d.attach(n, r, "web", lo, asWritten, ports)
	if err != nil {
		return err
	}
	client, err := d.attach(n, r, "client", lo, asWritten, nil)
	if err != nil {
		return err
	}

	d.head("Packets")
	d.packets(n, web, client, takesPorts(asWritten))

	d.head("CHECK, and a pod that is lost")
	d.step("CHECK web", func() (string, error) { return "", r.Check(web.eth0) })
	d.step("CHECK client", func() (string, error) { return "", r.Check(client.eth0) })
	d.step("CHECK finds out that web's default routes were deleted by hand", func() (string, error) {
		for _, family := range []string{"-4", "-6"} {
			// A pod without addresses of a family has no such route to lose.
			if _, err := web.eth0.Pod.Run("ip", family, "route", "flush", "default"); err != nil {
				return "", err
			}
		}
		err := r.Check(web.eth0)
		if err == nil {
			return "", errors.New("CHECK noticed nothing")
		}
		return firstLine(err.Error()), nil
	})
	with, err := n.Text()
	if err != nil {
		return err
	}
	lost, err := d.attach(n, r, "lost", lo, list, []node.Port{{HostPort: 8081, ContainerPort: 80, Protocol: "tcp"}})
	if err != nil {
		return err
	}
	d.step("lose it: the namespace goes, the runtime's memory too, no DEL is run", func() (string, error) {
		lost.server.Close()
		return "", errors.Join(r.Forget(lost.eth0), r.Forget(lost.lo), lost.eth0.Pod.Remove())
	})
	d.step("GC with web and client as the attachments that live", func() (string, error) {
		return "", r.GC(list, web.eth0, client.eth0)
	})
	d.step("nothing is left of the lost pod, nothing is missing of the others", func() (string, error) {
		_, err := d.left(n, with, list)
		return "", err
	})

	d.head("DEL")
	for _, p := range []*pod{web, client} {
		d.step("DEL "+p.eth0.Pod.ID, func() (string, error) { return "", errors.Join(r.Del(p.eth0), r.Del(p.lo)) })
		d.step("DEL "+p.eth0.Pod.ID+" again does no harm", func() (string, error) { return "", r.Del(p.eth0) })
		p.server.Close()
		d.step("remove the namespace", func() (string, error) { return "", p.eth0.Pod.Remove() })
	}
	d.step("GC with no attachment that lives", func() (string, error) { return "", r.GC(list) })
	var shared []string
	d.step("nothing is left but what all pods share", func() (string, error) {
		var err error
		shared, err = d.left(n, before, list)
		return "", err
	})
	d.stays(shared)
	return nil
}

// stays names what all pods share. What hangs on something that is named is only counted.
func (d *demo) stays(shared []string) {
	hanging := 0
	for _, line := range shared {
		word, rest, _ := strings.Cut(line, " ")
		kind, _, _ := strings.Cut(rest, " ")
		if !d.verbose && (word == "addr" || strings.HasPrefix(word, "route") || word == "dir" || word == "nft" && kind != "table") {
			hanging++
			continue
		}
		fmt.Println("                  stays:", line)
	}
	if hanging > 0 {
		fmt.Printf("                  stays: %d addresses, routes, chains, rules, sets and folders of these (-v prints them)\n", hanging)
	}
}

func (d *demo) head(title string) { fmt.Printf("\n%s\n", title) }

// left compares the node with what it was before.
func (d *demo) left(n *node.Node, before string, list *libcni.NetworkConfigList) (shared []string, err error) {
	var bridges []string
	for _, plugin := range list.Plugins {
		var conf struct{ Type, Bridge string }
		if err := json.Unmarshal(plugin.Bytes, &conf); err != nil {
			return nil, err
		}
		if conf.Type == "bridge" && conf.Bridge == "" {
			conf.Bridge = "cni0"
		}
		bridges = append(bridges, conf.Bridge)
	}
	after, err := n.Text()
	if err != nil {
		return nil, err
	}
	shared, left := node.Left(before, after, bridges...)
	if len(left) > 0 {
		return shared, fmt.Errorf("left behind:\n%s", strings.Join(left, "\n"))
	}
	return shared, nil
}

// pod is a pod with its two attachments.
type pod struct {
	lo, eth0 node.Attachment
	result   *types100.Result
	server   *node.Server
}

// attach runs loopback for lo and then the network for eth0, as the kubelet's runtimes do, and starts a server in the pod.
func (d *demo) attach(n *node.Node, r *node.Runtime, id string, lo, list *libcni.NetworkConfigList, ports []node.Port) (*pod, error) {
	p, err := n.Pod(id)
	if err != nil {
		return nil, err
	}
	a := &pod{lo: node.Attachment{Pod: p, List: lo, IfName: "lo"}, eth0: node.Attachment{Pod: p, List: list, IfName: "eth0", Ports: ports}}
	if err := d.step("ADD "+id+" lo", func() (string, error) { _, err := r.Add(a.lo); return "", err }); err != nil {
		return nil, err
	}
	title := "ADD " + id + " eth0"
	for _, port := range ports {
		title += fmt.Sprintf(", host port %d/%s", port.HostPort, port.Protocol)
	}
	if err := d.step(title, func() (string, error) {
		a.result, err = r.Add(a.eth0)
		return "", err
	}); err != nil {
		return nil, err
	}
	a.server, err = p.Serve(80)
	return a, err
}

func (d *demo) packets(n *node.Node, web, client *pod, ports bool) {
	pod := &client.eth0.Pod.Space
	for _, ip := range web.result.IPs {
		addr := ip.Address.IP.String()
		d.step("client pings web at "+addr, func() (string, error) { return "", pod.Ping(addr) })
		d.step("client pings its gateway "+ip.Gateway.String(), func() (string, error) { return "", pod.Ping(ip.Gateway.String()) })
		d.step("the node pings web at "+addr, func() (string, error) { return "", n.Ping(addr) })
	}
	outside, err := n.Outside.Serve(80)
	if err != nil {
		d.step("a server outside", func() (string, error) { return "", err })
		return
	}
	defer outside.Close()
	for _, c := range []struct {
		what, network string
		from          *node.Space
		to            string
		port          int
		want          string
	}{
		{"client fetches a page from outside", "tcp", pod, node.Outside4, 80, node.Addr4},
		{"client fetches a page from outside", "tcp", pod, node.Outside6, 80, node.Addr6},
		{"the outside fetches web's page through the host port", "tcp", &n.Outside, node.Addr4, 8080, node.Outside4},
		{"the outside fetches web's page through the host port", "tcp", &n.Outside, node.Addr6, 8080, node.Outside6},
		{"the outside asks web through the host port", "udp", &n.Outside, node.Addr4, 5353, node.Outside4},
		{"the outside asks web through the host port", "udp", &n.Outside, node.Addr6, 5353, node.Outside6},
		{"the node itself fetches web's page through 127.0.0.1", "tcp", &n.Space, "127.0.0.1", 8080, ""},
		{"client fetches web's page through the host port", "tcp", pod, node.Addr4, 8080, ""},
	} {
		if !hasFamilyOf(web.result, c.to) || !ports && c.port != 80 {
			continue
		}
		d.step(fmt.Sprintf("%s, %s port %d/%s", c.what, c.to, c.port, c.network), func() (string, error) {
			seen, err := c.from.Ask(c.network, c.to, c.port)
			if err != nil {
				return "", err
			}
			if c.want != "" && seen != c.want {
				return "", fmt.Errorf("seen as %s; want %s", seen, c.want)
			}
			return "seen as " + seen, nil
		})
	}
}

func hasFamilyOf(result *types100.Result, addr string) bool {
	for _, ip := range result.IPs {
		if (ip.Address.IP.To4() != nil) == !strings.Contains(addr, ":") {
			return true
		}
	}
	return false
}

func takesPorts(list *libcni.NetworkConfigList) bool {
	for _, plugin := range list.Plugins {
		if plugin.Network.Capabilities["portMappings"] {
			return true
		}
	}
	return false
}
