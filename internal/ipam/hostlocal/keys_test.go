package hostlocal_test

import (
	"strings"
	"testing"

	"github.com/catena-cni/catena/internal/kerneltest"
)

// TestExclude: what is excluded is given out by nobody but upstream's.
func TestExclude(t *testing.T) {
	t.Parallel()
	w := aWorld(t)
	conf := w.conf("1.1.0", `"ranges":[[{"subnet":"10.1.2.0/29"}],[{"subnet":"fd00::/64"}]],"exclude":["10.1.2.3","10.1.2.4/31","fd00::2/127"]`)
	_, _, err := w.run(binary, "ADD", "a", conf, "CNI_ARGS=IP=10.1.2.5")
	wants(t, err, 7, "requested address 10.1.2.5 is invalid: it is excluded")
	if got := w.add(t, "a", conf); got != "10.1.2.2 fd00::4" {
		t.Errorf("a got %s", got)
	}
	_, _, err = w.run(binary, "STATUS", "", conf)
	must(t, err)
	if got := w.add(t, "b", conf); got != "10.1.2.6 fd00::5" {
		t.Errorf("b got %s", got)
	}
	_, _, err = w.run(binary, "STATUS", "", conf)
	wants(t, err, 50, "no address is free in 10.1.2.1-10.1.2.6 less what is excluded: 2 held by 2 containers")
	out, _, err := w.run(kerneltest.Upstream(t, "host-local"), "ADD", "c", conf)
	must(t, err)
	if got := addresses(t, out); got != "10.1.2.3 fd00::6" {
		t.Errorf("upstream's gave %s", got)
	}
	w.del(t, "c", conf)
}

// TestStickyKey: a pod that is made anew, in another container, has its
// addresses again; other pods, and other interfaces, have others.
func TestStickyKey(t *testing.T) {
	t.Parallel()
	w := aWorld(t)
	conf := w.conf("1.1.0", `"ranges":[[{"subnet":"10.1.2.0/24"}],[{"subnet":"fd00::/64"}]],"stickyKey":"K8S_POD_NAMESPACE/K8S_POD_NAME"`)
	pod := func(namespace, name string) string {
		return "CNI_ARGS=IgnoreUnknown=1;K8S_POD_NAMESPACE=" + namespace + ";K8S_POD_NAME=" + name + ";K8S_POD_INFRA_CONTAINER_ID=x"
	}
	theirs := kerneltest.Upstream(t, "host-local")
	web := w.add(t, "a1", conf, pod("shop", "web-0"))
	w.add(t, "b1", conf, pod("shop", "web-1"))
	for _, end := range []func(){
		func() { w.del(t, "a1", conf, pod("shop", "web-0")) },
		func() { w.del(t, "a1", conf) }, // a DEL that does not say whose
		func() {
			_, _, err := w.run(theirs, "DEL", "a1", conf)
			must(t, err)
		},
		func() {
			_, _, err := w.run(binary, "GC", "", with(conf, `"cni.dev/valid-attachments":[{"containerID":"b1","ifname":"eth0"}]`))
			must(t, err)
		},
	} {
		end()
		for id, env := range map[string]string{
			"another namespace": pod("mail", "web-0"), "another pod": pod("shop", "web-2"), "another interface": pod("shop", "web-0"),
			"without a name": pod("shop", ""), "without a key": "CNI_ARGS=IgnoreUnknown=1;K8S_POD_NAME=web-0",
		} {
			id = strings.ReplaceAll(id, " ", "-")
			if got := w.add(t, id, conf, env, "CNI_IFNAME=eth1"); got == web {
				t.Errorf("%s got %s", id, got)
			}
			w.del(t, id, conf, "CNI_IFNAME=eth1")
		}
		if got := w.add(t, "a1", conf, pod("shop", "web-0")); got != web {
			t.Errorf("web-0 has %s, and had %s", got, web)
		}
	}
	// Where upstream has given the address to another, there is another for web-0.
	w.del(t, "a1", conf)
	_, _, err := w.run(theirs, "ADD", "x", strings.Replace(conf, `"ipam":{`, `"args":{"cni":{"ips":["`+strings.Fields(web)[0]+`"]}},"ipam":{`, 1))
	must(t, err)
	got := w.add(t, "a2", conf, pod("shop", "web-0"))
	if had, has := strings.Fields(web), strings.Fields(got); has[0] == had[0] || has[1] != had[1] {
		t.Errorf("web-0 has %s, and had %s, of which upstream gave away the first", got, web)
	}
}
