module github.com/catena-cni/catena

go 1.25.0

require (
	github.com/containernetworking/cni v1.3.1
	github.com/containernetworking/plugins v1.9.1
	github.com/safchain/ethtool v0.7.0
	github.com/vishvananda/netns v0.0.5
	golang.org/x/sys v0.38.0
)

require (
	go.opentelemetry.io/otel v1.29.0 // indirect
	go.opentelemetry.io/otel/trace v1.29.0 // indirect
)
