package main

import (
	"testing"

	"github.com/catena-cni/catena/internal/kerneltest"
)

// TestAgain: of two ADDs of an attachment the last one counts.
func TestAgain(t *testing.T) {
	kerneltest.Again{
		Bin: kerneltest.Build(t, "plugins/meta/portmap"), Plugin: "portmap", Programs: "/usr/sbin:/sbin:/usr/bin:/bin", Renewed: true,
		Conf: func(keys string) string {
			return `{"cniVersion":"1.1.0","name":"n","type":"portmap"` + keys + `,"prevResult":{"cniVersion":"1.1.0",
				"interfaces":[{"name":"br0"},{"name":"eth0","sandbox":"/x"}],"ips":[{"address":"10.1.2.3/24","interface":1},{"address":"fd00:1:2::3/64","interface":1}]}}`
		},
		Setup: func(s *kerneltest.Sandbox) {
			s.Run("ip link del br0 2>/dev/null; true")
			bridged(s)
		},
		Look: "nft list table inet catena; for i in iptables ip6tables; do $i -t nat -S; done; find /run/catena -name '*.*' | sort",
		Keys: []string{
			``,
			`,"runtimeConfig":{"portMappings":[{"hostPort":8080,"containerPort":80},{"hostPort":53,"containerPort":53,"protocol":"udp"}]}`,
			`,"runtimeConfig":{"portMappings":[{"hostPort":8080,"containerPort":81},{"hostPort":8081,"containerPort":81,"hostIP":"192.0.2.2"}]},"snat":false`,
			`,"runtimeConfig":{"portMappings":[{"hostPort":8080,"containerPort":80},{"hostPort":8082,"containerPort":80}]},"backend":"iptables"`,
			`,"runtimeConfig":{"portMappings":[{"hostPort":8080,"containerPort":80}]},"conditionsV4":["-s","10.9.0.0/16"],"markMasqBit":20`,
		},
	}.Run(t)
}

// TestAgainRefused: what is wrong with a second ADD by itself leaves the first
// alone; one that fails on its way leaves neither.
func TestAgainRefused(t *testing.T) {
	bin := kerneltest.Build(t, "plugins/meta/portmap")
	s := kerneltest.New(t)
	bridged(s)
	call := func(id, port string) kerneltest.Call {
		return kerneltest.Call{Bin: bin, Plugin: "portmap", ContainerID: id, Conf: `{"cniVersion":"1.1.0","name":"n","type":"portmap","runtimeConfig":{"portMappings":[` + port + `]},
			"prevResult":{"cniVersion":"1.1.0","interfaces":[{"name":"br0"},{"name":"eth0","sandbox":"/x"}],"ips":[{"address":"10.1.2.3/24","interface":1}]}}`}
	}
	const first, theirs = `{"hostPort":8080,"containerPort":80}`, `{"hostPort":9090,"containerPort":80}`
	s.Must(call("c2", theirs))
	before := s.Text()
	s.Must(call("c1", first))
	s.Refuses(call("c1", `{"hostPort":0,"containerPort":80}`), 7, "hostPort is 0")
	s.Refuses(call("c1", first+`,{"hostPort":81,"containerPort":80,"hostIP":"2001:db8::1"}`), 7, "no address of that family")
	if a := s.Call(call("c1", theirs)); a.Exit == 0 || a.Code != 101 {
		t.Errorf("a port of another pod: %d %s", a.Code, a.Msg)
	}
	s.Same("a second ADD that failed", before, s.Text())
}
