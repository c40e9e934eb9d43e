// Package integration runs the built plugins as their users do: by libcni, by the scripts and by hand, with the files of
// conflist-examples/, and with packets. Each test has a node of its own and leaves the machine alone.
//
// The plugins are those of bin/, which build_linux.sh makes; CATENA_PLUGINS names another folder.
package integration

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/catena-cni/catena/integration/node"
	"github.com/catena-cni/catena/internal/kerneltest"
	types100 "github.com/containernetworking/cni/pkg/types/100"
)

var root, plugins, examples string

func TestMain(m *testing.M) {
	err := func() (err error) {
		if root, err = node.Root(); err != nil {
			return err
		}
		plugins = filepath.Join(root, "bin")
		if dir := os.Getenv("CATENA_PLUGINS"); dir != "" {
			if plugins, err = filepath.Abs(dir); err != nil {
				return err
			}
		}
		examples = filepath.Join(root, "conflist-examples")
		if _, err := os.Stat(filepath.Join(plugins, "bridge")); err != nil && os.Geteuid() == 0 {
			return fmt.Errorf("there is no toolkit to test: %w: run ./build_linux.sh first", err)
		}
		return nil
	}()
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	kerneltest.RootMain(m)
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func newNode(t testing.TB) *node.Node {
	t.Helper()
	n, err := node.New()
	must(t, err)
	t.Cleanup(func() { n.Close() })
	return n
}

func newPod(t testing.TB, n *node.Node, id string) *node.Pod {
	t.Helper()
	p, err := n.Pod(id)
	must(t, err)
	return p
}

func text(t testing.TB, n *node.Node) string {
	t.Helper()
	text, err := n.Text()
	must(t, err)
	return text
}

// noneLeft fails the test for whatever pods have left behind since before was taken.
func noneLeft(t testing.TB, n *node.Node, before string, bridges ...string) {
	t.Helper()
	if _, left := node.Left(before, text(t, n), bridges...); len(left) > 0 {
		t.Errorf("left behind:\n%s", strings.Join(left, "\n"))
	}
}

// serve starts a server that ends with the test.
func serve(t testing.TB, s *node.Space, port int) {
	t.Helper()
	server, err := s.Serve(port)
	must(t, err)
	t.Cleanup(func() { server.Close() })
}

// seen fails the test unless the server at addr sees the question come from want.
func seen(t testing.TB, from *node.Space, network, addr string, port int, want string) {
	t.Helper()
	got, err := from.Ask(network, addr, port)
	if err != nil {
		t.Error(err)
	} else if got != want {
		t.Errorf("%s asks %s port %d over %s and is seen as %s; want %s", from.Name, addr, port, network, got, want)
	}
}

// addrs gives a result's addresses of one family or of both ("4", "6", "").
func addrs(t testing.TB, result *types100.Result, family string) []string {
	t.Helper()
	var found []string
	for _, ip := range result.IPs {
		addr, ok := netip.AddrFromSlice(ip.Address.IP)
		if !ok {
			t.Fatalf("the result holds the address %v", ip.Address)
		}
		addr = addr.Unmap()
		if family == "" || addr.Is4() == (family == "4") {
			found = append(found, addr.String())
		}
	}
	return found
}

// byHand runs a plugin as a shell would: by environment and standard input.
func byHand(n *node.Node, verb, plugin, id, netns, ifname, stdin string) (string, error) {
	env := []string{"CNI_COMMAND=" + verb, "CNI_CONTAINERID=" + id, "CNI_NETNS=" + netns, "CNI_IFNAME=" + ifname, "CNI_PATH=" + plugins}
	return n.RunWith(env, stdin, filepath.Join(plugins, plugin))
}

func example(t testing.TB, name string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(examples, name))
	must(t, err)
	return string(text)
}

func sameJSON(t testing.TB, got, want string) {
	t.Helper()
	var g, w any
	if err := json.Unmarshal([]byte(got), &g); err != nil {
		t.Fatalf("not JSON: %v: %s", err, got)
	}
	must(t, json.Unmarshal([]byte(want), &w))
	if !reflect.DeepEqual(g, w) {
		var b bytes.Buffer
		json.Compact(&b, []byte(got))
		t.Errorf("got  %s\nwant %s", b.String(), want)
	}
}
