package integration

import (
	"path/filepath"
	"slices"
	"testing"
	"time"
)

// BenchmarkStatus measures the work of STATUS: how much longer it takes than VERSION, which is a plugin's start alone.
// Runtimes ask every few seconds.
func BenchmarkStatus(b *testing.B) {
	n := newNode(b)
	for plugin, conf := range map[string]string{
		"bridge":     `{"cniVersion":"1.1.0","name":"n","type":"bridge","ipMasq":true,"macspoofchk":true}`,
		"host-local": `{"cniVersion":"1.1.0","name":"n","type":"bridge","ipam":{"type":"host-local","ranges":[[{"subnet":"10.1.0.0/16"}],[{"subnet":"fd00::/64"}]]}}`,
		"portmap":    `{"cniVersion":"1.1.0","name":"n","type":"portmap"}`,
		"tuning":     `{"cniVersion":"1.1.0","name":"n","type":"tuning","sysctl":{"net.core.somaxconn":"1"}}`,
		"loopback":   `{"cniVersion":"1.1.0","name":"n","type":"loopback"}`,
	} {
		b.Run(plugin, func(b *testing.B) {
			took := map[string][]time.Duration{}
			for b.Loop() {
				for _, verb := range []string{"VERSION", "STATUS"} {
					began := time.Now()
					if out, err := n.RunWith([]string{"CNI_COMMAND=" + verb, "CNI_PATH=" + plugins}, conf, filepath.Join(plugins, plugin)); err != nil {
						b.Fatal(err, out)
					}
					took[verb] = append(took[verb], time.Since(began))
				}
			}
			median := func(verb string) float64 {
				slices.Sort(took[verb])
				return float64(took[verb][len(took[verb])/2].Microseconds()) / 1000
			}
			b.ReportMetric(median("STATUS")-median("VERSION"), "ms-of-work")
			b.ReportMetric(median("VERSION"), "ms-start")
		})
	}
}
