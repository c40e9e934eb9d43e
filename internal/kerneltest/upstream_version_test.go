//go:build never

package kerneltest

// go.mod names the peer for this import alone, which nothing is built with.
import _ "github.com/containernetworking/plugins/pkg/utils/buildversion"
