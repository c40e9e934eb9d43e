package integration

import (
	"path/filepath"
	"strings"
	"testing"

	"github.com/catena-cni/catena/integration/node"
)

// damages are shell commands that put something else in the place of the file $f.
var damages = map[string]string{
	"rubbish":             `echo rubbish >"$f"`,
	"a pipe":              `rm "$f"; mkfifo "$f"`,
	"a device by a link":  `rm "$f"; ln -s /dev/zero "$f"`,
	"eight gigabytes":     `truncate -s 8G "$f"`,
	"another user's file": `chown 1000 "$f" || echo rubbish >"$f"`,
	"a folder":            `rm "$f"; mkdir "$f"`,
}

// recorded are the folders of what attachments have.
const recorded = "/run/catena/nft /run/catena/iptables /run/catena/device /run/catena/routes /run/cni/tuning /var/lib/cni/flannel"

// TestDamagedRecords: whatever has come in the place of every record of a pod, its DEL succeeds, and takes away what it
// knows of all the same. The damaged ones are set aside, so that they can be looked at, and the pod can come again.
func TestDamagedRecords(t *testing.T) {
	chains := map[string]string{
		"device and routes": `{"type":"host-device","device":"spare",` + hostLocalIPAM + `},{"type":"tuning","sysctl":{"net.core.somaxconn":"1000"}},{"type":"portmap","capabilities":{"portMappings":true}}`,
		"routes": `{"type":"bridge","bridge":"gc0","isGateway":true,"ipMasq":true,"ipam":{"type":"static","addresses":[{"address":"10.73.0.9/32","gateway":"169.254.1.1"}]}},
			{"type":"firewall"}`,
	}
	for name, chain := range gcChains {
		chains[name] = chain
	}
	for name, chain := range chains {
		for damage, command := range damages {
			t.Run(name+"/"+damage, func(t *testing.T) {
				t.Parallel()
				n := newNode(t)
				must(t, n.WriteFile(subnetEnv, "FLANNEL_NETWORK=10.72.0.0/16\nFLANNEL_SUBNET=10.72.1.1/24\nFLANNEL_MTU=1500\nFLANNEL_IPMASQ=true\n"))
				_, err := n.Run("ip", "link", "add", "spare", "type", "veth", "peer", "name", "spare1")
				must(t, err)
				list, err := node.Parse([]byte(`{"cniVersion":"1.1.0","name":"gc","plugins":[`+chain+`]}`), "")
				must(t, err)
				r := n.Runtime(nil, plugins)
				a := node.Attachment{Pod: newPod(t, n, "p"), List: list, IfName: "eth0", Ports: both(8080, 80)}
				_, err = r.Add(a)
				must(t, err)
				must(t, r.Del(a)) // what is shared stays
				before := text(t, n)
				_, err = r.Add(a)
				must(t, err)
				found, err := n.Run("sh", "-c", `find `+recorded+` -maxdepth 1 -type f ! -name '.*' 2>/dev/null; true`)
				must(t, err)
				files := strings.Fields(found)
				if len(files) == 0 {
					t.Fatal("there is no record")
				}
				for _, f := range files {
					_, err := n.Run("sh", "-c", `f="$1"; `+command, "sh", f)
					must(t, err)
				}
				must(t, r.Del(a))
				for _, f := range files {
					_, err := n.Run("rm", "-r", filepath.Join(filepath.Dir(f), ".damaged-"+filepath.Base(f)))
					must(t, err)
				}
				noneLeft(t, n, before)
				_, err = r.Add(a)
				must(t, err)
				must(t, r.Check(a))
				must(t, r.Del(a))
			})
		}
	}
}
