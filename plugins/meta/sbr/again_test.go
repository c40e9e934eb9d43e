package main

import (
	"testing"

	"github.com/catena-cni/catena/internal/kerneltest"
)

// TestAgain: of two ADDs of an attachment the last one counts.
func TestAgain(t *testing.T) {
	kerneltest.Again{
		Bin: kerneltest.Build(t, "plugins/meta/sbr"), Plugin: "sbr", Renewed: true,
		Conf:  func(keys string) string { return head + prev + keys + "}" },
		Setup: func(s *kerneltest.Sandbox) { s.Run(kerneltest.TwoNetworks) },
		Look:  "for f in -4 -6; do pod ip $f rule; pod ip $f route show table all | grep -v fe80; done",
		Keys:  []string{``, `,"gateways":["10.1.2.9"]`, `,"addSourceHints":true`, `,"table":500`},
	}.Run(t)
}
