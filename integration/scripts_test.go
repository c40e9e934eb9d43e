package integration

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/catena-cni/catena/integration/node"
)

// confDir makes a folder of configurations.
func confDir(t *testing.T, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for name, text := range files {
		must(t, os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644))
	}
	return dir
}

// script runs one of integration/scripts in a node.
func script(n *node.Node, confs, path string, env []string, name string, args ...string) (string, error) {
	env = append([]string{"NETCONFPATH=" + confs, "CNI_PATH=" + path}, env...)
	return n.RunWith(env, "", filepath.Join(root, "integration", "scripts", name), args...)
}

// spy makes a folder with plugins that only write down how they were called. A plugin named "broken" fails.
func spy(t *testing.T) (dir string, log func() []string) {
	t.Helper()
	dir = t.TempDir()
	file := filepath.Join(dir, "log")
	const text = `#!/bin/bash
in=$(cat)
printf '%s %s %s %s %s\n' "$(basename "$0")" "$CNI_COMMAND" "$CNI_IFNAME" "${CNI_ARGS:--}" "$(jq -c '[.cniVersion, .name, .prevResult.dns.domain, .runtimeConfig]' <<<"$in")" >>"$(dirname "$0")/log"
if [[ $(basename "$0") == broken && $CNI_COMMAND == ADD ]]; then
	echo '{"code": 101, "msg": "the cable is cut", "details": "buy another"}'
	exit 1
fi
[[ $CNI_COMMAND != ADD ]] || jq -c --arg d "$(basename "$0")" '{cniVersion, dns: {domain: ((.prevResult.dns.domain // "") + "/" + $d)}}' <<<"$in"
`
	for _, name := range []string{"one", "two", "three", "broken"} {
		must(t, os.WriteFile(filepath.Join(dir, name), []byte(text), 0o755))
	}
	return dir, func() []string {
		text, err := os.ReadFile(file)
		must(t, err)
		must(t, os.Remove(file))
		return strings.Split(strings.TrimSpace(string(text)), "\n")
	}
}

func sameLines(t *testing.T, got []string, want ...string) {
	t.Helper()
	if g, w := strings.Join(got, "\n"), strings.Join(want, "\n"); g != w {
		t.Errorf("got\n%s\nwant\n%s", g, w)
	}
}

func TestPrivNetRun(t *testing.T) {
	t.Parallel()
	n := newNode(t)
	before := text(t, n)
	confs := confDir(t, map[string]string{"10-mynet.conf": example(t, "10-mynet.conf"), "99-loopback.conf": example(t, "99-loopback.conf")})
	out, err := script(n, confs, plugins, nil, "priv-net-run.sh", "ip", "-o", "addr")
	must(t, err)
	for _, want := range []string{"eth0    inet 10.22.0.2/16", "lo    inet 127.0.0.1/8"} {
		if !strings.Contains(out, want) {
			t.Errorf("no %q in\n%s", want, out)
		}
	}
	_, err = script(n, confs, plugins, nil, "priv-net-run.sh", "sh", "-c", "exit 7")
	if err == nil || !strings.Contains(err.Error(), "exit status 7") {
		t.Errorf("the command ended with 7, the script with %v", err)
	}
	noneLeft(t, n, before, "cni0")
}

func TestPrivNetRunAfterFailedAdd(t *testing.T) {
	t.Parallel()
	n := newNode(t)
	before := text(t, n)
	broken, _ := spy(t)
	confs := confDir(t, map[string]string{"10-mynet.conf": example(t, "10-mynet.conf"), "20.conf": `{"name":"b","type":"broken"}`})
	out, err := script(n, confs, plugins+":"+broken, nil, "priv-net-run.sh", "echo", "it ran")
	if err == nil || !strings.Contains(err.Error(), "broken ADD eth1: the cable is cut; buy another (code 101)") {
		t.Errorf("error: %v", err)
	}
	if strings.Contains(out, "it ran") {
		t.Error("the command ran without its network")
	}
	noneLeft(t, n, before, "cni0")
}

func TestExecPlugins(t *testing.T) {
	t.Parallel()
	n := newNode(t)
	path, log := spy(t)
	confs := confDir(t, map[string]string{
		"20-list.conflist": `{"cniVersion":"1.0.0","name":"list","plugins":[{"type":"two","capabilities":{"mac":true,"ips":false}},{"type":"three"}]}`,
		"10-single.conf":   `{"name":"single","type":"one"}`,
		"30-json.json":     `{"cniVersion":"0.3.1","name":"json","plugins":[{"type":"one"},{"type":"two"}]}`,
		"40-new.conflist":  `{"cniVersion":"0.4.0","cniVersions":["1.1.0","9.0.0","1.0.0"],"name":"new","plugins":[{"type":"one"}]}`,
		"notes.txt":        `not a configuration`,
	})
	caps := []string{`CAP_ARGS={"mac":"02:00:00:00:00:01","ips":["10.0.0.1"],"other":1}`, "CNI_ARGS=A=b;C=d"}
	_, err := script(n, confs, path, caps, "exec-plugins.sh", "add", "id-1", "/run/netns/x")
	must(t, err)
	sameLines(t, log(),
		`one ADD eth0 A=b;C=d ["0.1.0","single",null,null]`,
		`two ADD eth1 A=b;C=d ["1.0.0","list",null,{"mac":"02:00:00:00:00:01"}]`,
		`three ADD eth1 A=b;C=d ["1.0.0","list","/two",null]`,
		`one ADD eth2 A=b;C=d ["0.3.1","json",null,null]`,
		`two ADD eth2 A=b;C=d ["0.3.1","json","/one",null]`,
		`one ADD eth3 A=b;C=d ["1.1.0","new",null,null]`)
	if _, err := script(n, confs, path, nil, "exec-plugins.sh", "add", "id-1", "/run/netns/x"); err == nil {
		t.Error("the same container was added twice")
	}
	// What was added is deleted, whatever has become of the files.
	must(t, os.Rename(filepath.Join(confs, "20-list.conflist"), filepath.Join(confs, "99-list.conflist")))
	_, err = script(n, confs, path, nil, "exec-plugins.sh", "DEL", "id-1", "/run/netns/x")
	must(t, err)
	sameLines(t, log(),
		`one DEL eth3 - ["1.1.0","new","/one",null]`,
		`two DEL eth2 - ["0.3.1","json",null,null]`,
		`one DEL eth2 - ["0.3.1","json",null,null]`,
		`three DEL eth1 - ["1.0.0","list","/two/three",null]`,
		`two DEL eth1 - ["1.0.0","list","/two/three",null]`,
		`one DEL eth0 - ["0.1.0","single",null,null]`)
	// A container that nothing is known of is deleted by the files.
	_, err = script(n, confs, path, nil, "exec-plugins.sh", "del", "id-2", "/run/netns/x")
	must(t, err)
	if calls := log(); len(calls) != 6 || !strings.HasPrefix(calls[0], "three DEL eth3 ") || !strings.HasPrefix(calls[5], "one DEL eth0 ") {
		t.Errorf("calls:\n%s", strings.Join(calls, "\n"))
	}
}

func TestExecPluginsTellsTheTruth(t *testing.T) {
	t.Parallel()
	n := newNode(t)
	path, log := spy(t)
	for _, c := range []struct{ name, file, conf, want string }{
		{"an error within a list", "10.conflist", `{"cniVersion":"1.0.0","name":"l","plugins":[{"type":"one"},{"type":"broken"},{"type":"two"}]}`, "broken ADD eth0: the cable is cut; buy another (code 101)"},
		{"no plugin", "10.conf", `{"cniVersion":"1.0.0","name":"l","type":"absent"}`, `no plugin "absent" in ` + path},
		{"no type", "10.conf", `{"cniVersion":"1.0.0","name":"l"}`, `neither "plugins" nor "type" is there`},
		{"no name", "10.conflist", `{"cniVersion":"1.0.0","plugins":[{"type":"one"}]}`, "the list has no name"},
		{"not JSON", "10.conf", `{`, "10.conf cannot be used"},
		{"no files", "10.txt", ``, "holds no *.conf"},
	} {
		t.Run(c.name, func(t *testing.T) {
			confs := confDir(t, map[string]string{c.file: c.conf})
			_, err := script(n, confs, path, nil, "exec-plugins.sh", "add", "id", "/run/netns/x")
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("error %v; want %s", err, c.want)
			}
			script(n, confs, path, nil, "exec-plugins.sh", "del", "id", "/run/netns/x")
		})
	}
	log()
	for _, args := range [][]string{{"add", "id"}, {"ad", "id", "/x"}, {"add", "../id", "/x"}} {
		if _, err := script(n, t.TempDir(), path, nil, "exec-plugins.sh", args...); err == nil {
			t.Errorf("%q was accepted", args)
		}
	}
}

// TestDockerRun has a stand-in for the engine that does what the script asks of it with namespaces alone.
func TestDockerRun(t *testing.T) {
	t.Parallel()
	n := newNode(t)
	before := text(t, n)
	bin := t.TempDir()
	const engine = `#!/bin/bash
set -e
here=$(dirname "$0")
case $1 in
run)
	if [[ $2 == -d ]]; then
		[[ $* == "run -d --net=none busybox:latest sleep "* ]]
		unshare --net sleep 1000 >/dev/null 2>&1 &
		echo $! >"$here/pid"
		own=$(readlink /proc/self/ns/net)
		until its=$(readlink /proc/$!/ns/net) && [[ $its && $its != "$own" ]]; do sleep 0.01; done
		echo c0ffee
	else
		[[ $2 == --net=container:c0ffee && $3 == --rm && $4 == "an image" ]]
		shift 4
		nsenter --net="/proc/$(cat "$here/pid")/ns/net" "$@"
	fi
	;;
inspect) [[ $4 == c0ffee ]] && cat "$here/pid" ;;
rm) [[ $3 == c0ffee ]] && kill "$(cat "$here/pid")" && rm "$here/pid" ;;
esac
`
	must(t, os.WriteFile(filepath.Join(bin, "docker"), []byte(engine), 0o755))
	env := []string{"DOCKER=" + filepath.Join(bin, "docker")}
	confs := confDir(t, map[string]string{"10-mynet.conf": example(t, "10-mynet.conf")})
	out, err := script(n, confs, plugins, env, "docker-run.sh", "--rm", "an image", "ip", "-o", "addr")
	must(t, err)
	if !strings.Contains(out, "eth0    inet 10.22.0.2/16") {
		t.Errorf("the container's addresses are\n%s", out)
	}
	_, err = script(n, confs, plugins, env, "docker-run.sh", "--rm", "an image", "sh", "-c", "exit 7")
	if err == nil || !strings.Contains(err.Error(), "exit status 7") {
		t.Errorf("the container ended with 7, the script with %v", err)
	}
	must(t, os.WriteFile(filepath.Join(confs, "20.conf"), []byte(`{"name":"b","type":"absent"}`), 0o644))
	out, err = script(n, confs, plugins, env, "docker-run.sh", "--rm", "an image", "echo", "it ran")
	if err == nil || strings.Contains(out, "it ran") {
		t.Errorf("without its network the container ran: %v: %s", err, out)
	}
	if _, err := os.Stat(filepath.Join(bin, "pid")); err == nil {
		t.Error("the container was left behind")
	}
	noneLeft(t, n, before, "cni0")
}
