package name

import "testing"

// TestUpstreamNames: vectors that upstream's plugins gave.
func TestUpstreamNames(t *testing.T) {
	at := Attachment{Network: "net1", ContainerID: "cont1", IfName: "eth0"}
	for got, want := range map[string]string{
		at.UpstreamChain("CNI-DN-"): "CNI-DN-01d424cb2a9303e21c6e9",
		at.UpstreamChain("CNI-SN-"): "CNI-SN-01d424cb2a9303e21c6e9",
		at.UpstreamChain("CNI-"):    "CNI-01d424cb2a9303e21c6e971c",
		at.UpstreamLink("bwp"):      "bwp01d424cb2a93",
		at.UpstreamInstance():       "8e48f37d5de60467-f37378035343678b",
		Attachment{Network: "test", ContainerID: "1234"}.UpstreamChain("CNI-"): "CNI-2bbe0c48b91a7d1b8a6753a8",
		UpstreamNetwork("unit-test"): "6fd94d501e58f0aa-",
		Attachment{ContainerID: "two", IfName: "eth0"}.UpstreamInstance()[17:]: "d750b2c8f0f25d5f",
		Attachment{Network: "n1", ContainerID: "ctr"}.UpstreamChain("CNI-"):    "CNI-b99c3a79f7fb29599223b185",
	} {
		if got != want {
			t.Errorf("%s, and upstream has %s", got, want)
		}
	}
}
