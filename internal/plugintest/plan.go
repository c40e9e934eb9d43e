package plugintest

import (
	"testing"

	"github.com/catena-cni/catena/internal/cni/conf"
	"github.com/catena-cni/catena/internal/fact"
	"github.com/catena-cni/catena/internal/kerneltest"
	"github.com/catena-cni/catena/internal/plugin"
)

// Plan is what the plugin wants for the configuration c and an attachment as At
// makes it. A configuration that the plugin refuses ends the test.
func Plan[C any](t testing.TB, p plugin.Plugin[C], id string, c C, addresses ...string) fact.Plan {
	t.Helper()
	return PlanAt(t, p, At(id, addresses...), c)
}

// PlanAt is Plan for any attachment.
func PlanAt[C any](t testing.TB, p plugin.Plugin[C], call plugin.Call, c C) fact.Plan {
	t.Helper()
	conf.Defaults(&c)
	if p.Validate != nil {
		if err := p.Validate(&call, &c); err != nil {
			t.Fatal(err)
		}
	}
	if err := p.Finish(call, c); err != nil {
		t.Fatal(err)
	}
	facts := p.Want(call, c)
	// A plan with addresses is less the one without, which dhcp is asked over.
	if other := p.Want(call, c).Without(facts); len(other) > 0 {
		t.Errorf("the same facts are not told to be the same:\n%v", other)
	}
	return facts
}

// Golden compares each plan with the file of its name in testdata.
func Golden(t *testing.T, plans map[string]fact.Plan) {
	t.Helper()
	for file, p := range plans {
		t.Run(file, func(t *testing.T) { kerneltest.Golden(t, "testdata/"+file+".plan", p.String()) })
	}
}
