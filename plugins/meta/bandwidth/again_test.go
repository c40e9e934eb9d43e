package main

import (
	"testing"

	"github.com/catena-cni/catena/internal/kerneltest"
)

// TestAgain: of two ADDs of an attachment the last one counts.
func TestAgain(t *testing.T) {
	kerneltest.Needs(t, "shaping")
	kerneltest.Again{
		Bin: kerneltest.Build(t, "plugins/meta/bandwidth"), Plugin: "bandwidth", Renewed: true,
		Conf: conf, Setup: setup, Look: "{ " + look + "; } | sed 's/index [0-9]* //'; " + ifbs + " | cut -d' ' -f1",
		Keys: []string{``, both, `,"ingressRate":8000000`, both + `,"unshapedSubnets":["10.9.0.0/16"]`, both + `,"egressShaper":"pod"`},
	}.Run(t)
}
