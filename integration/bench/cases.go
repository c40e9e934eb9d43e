package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// Networks that pods get an address of.
const (
	four = `"ipam":{"type":"host-local","ranges":[[{"subnet":"10.0.0.0/16"}]],"routes":[{"dst":"0.0.0.0/0"}]}`
	dual = `"ipam":{"type":"host-local","ranges":[[{"subnet":"10.0.0.0/16"}],[{"subnet":"fd00::/64"}]],"routes":[{"dst":"0.0.0.0/0"},{"dst":"::/0"}]}`
)

// list is a .conflist of these plugins.
func list(plugins ...string) string {
	return `{"cniVersion":"1.0.0","name":"bench","plugins":[` + strings.Join(plugins, ",") + `]}`
}

// chain is what a node of a cluster has.
func chain(ipam string) string {
	return list(`{"type":"bridge","bridge":"cni0","isGateway":true,"ipMasq":true,"hairpinMode":true,`+ipam+`}`,
		`{"type":"portmap","capabilities":{"portMappings":true}}`, `{"type":"tuning","sysctl":{"net.core.somaxconn":"4096"}}`)
}

// builtIn are the cases that are measured where no other is asked for. Those with many pods come last: taking them apart
// keeps the kernel busy.
func builtIn() (out []scenario) {
	for _, plugin := range []string{"bridge", "host-local", "portmap", "tuning"} {
		out = append(out, scenario{name: "start of " + plugin, conf: list(`{"type":"` + plugin + `"}`), verbs: []string{"VERSION"}, rounds: 100})
	}
	out = append(out,
		scenario{name: "bridge + host-local", conf: list(`{"type":"bridge","bridge":"cni0",` + four + `}`), rounds: 40,
			goals: limits{"ADD": 0.55, "CHECK": 0.5}},
		scenario{name: "bridge with ipMasq + host-local", conf: list(`{"type":"bridge","bridge":"cni0","isGateway":true,"ipMasq":true,` + four + `}`), rounds: 40,
			goals: limits{"ADD": 0.55, "CHECK": 0.5}},
		scenario{name: "ptp + host-local", conf: list(`{"type":"ptp",` + four + `}`), rounds: 20},
		scenario{name: "macvlan + host-local", conf: list(`{"type":"macvlan","master":"uplink",` + four + `}`), rounds: 20, needs: "macvlan"},
		scenario{name: "ipvlan + host-local", conf: list(`{"type":"ipvlan","master":"uplink",` + four + `}`), rounds: 20, needs: "ipvlan"},
		scenario{name: "vlan + host-local", conf: list(`{"type":"vlan","master":"uplink","vlanId":5,` + four + `}`), rounds: 20, needs: "vlan id 5"},
		scenario{name: "dummy + host-local", conf: list(`{"type":"dummy",` + four + `}`), rounds: 20, needs: "dummy"},
		scenario{name: "tap + host-local", conf: list(`{"type":"tap",` + four + `}`), rounds: 20},
		scenario{name: "host-device + host-local", conf: list(`{"type":"host-device","device":"dev0",` + four + `}`), rounds: 20,
			prepare: "ip link add dev0 type veth peer name dev1; ip link set dev1 up"},
		scenario{name: "loopback", conf: list(`{"type":"loopback"}`), rounds: 20},
	)
	for _, leases := range []int{0, 1000, 60_000} {
		s := scenario{name: fmt.Sprintf("host-local, %d leases", leases), conf: list(`{"type":"host-local",` + four + `}`), leases: leases, rounds: 20}
		if leases == 60_000 {
			s.goals = limits{"ADD": 0.01, "CHECK": 0.01, "DEL": 0.01}
		}
		out = append(out, s)
	}
	out = append(out,
		scenario{name: "chain, IPv4", conf: chain(four), ports: 1, rounds: 40, counts: true,
			goals: limits{"ADD": 0.21, "CHECK": 0.36, "DEL": 0.18}},
		scenario{name: "chain, dual stack", conf: chain(dual), ports: 1, rounds: 30,
			goals: limits{"ADD": 0.14, "CHECK": 0.28, "DEL": 0.12}},
		scenario{name: "chain, 100 ports", conf: chain(four), ports: 100, rounds: 5},
		scenario{name: "chain, 1000 ports", conf: chain(four), ports: 1000, rounds: 2, goals: limits{"ADD": 0.002}},
		scenario{name: "chain, 20 pods at a time", conf: chain(four), ports: 1, together: 20, rounds: 5},
		scenario{name: "chain, 100 pods at a time", conf: chain(four), ports: 1, together: 100, rounds: 3,
			goals: limits{"ADD": 0.15, "DEL": 0.08}},
		scenario{name: "chain, 100 standing pods", conf: chain(four), ports: 1, standing: 100, rounds: 20},
		scenario{name: "chain, 1000 standing pods", conf: chain(four), ports: 1, standing: 1000, rounds: 15,
			goals: limits{"ADD": 0.09}},
	)
	return out
}

// chosen are the scenarios that the command line asks for.
func chosen(o options) (out []scenario, err error) {
	all := builtIn()
	if o.conf != "" {
		text, err := os.ReadFile(o.conf)
		if err != nil {
			return nil, err
		}
		all = []scenario{{name: filepath.Base(o.conf), conf: string(text), rounds: 40, counts: true}}
	}
	for _, s := range all {
		s.together = max(s.together, 1)
		if s.verbs == nil {
			s.verbs = verbs
		}
		if o.names.MatchString(s.name) {
			out = append(out, s)
		}
	}
	if len(out) == 0 {
		return nil, fmt.Errorf("no case is named like %v", o.names)
	}
	return out, nil
}
