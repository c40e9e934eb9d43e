package cni

import (
	"bytes"
	"encoding/json"
	"testing"

	current "github.com/containernetworking/cni/pkg/types/100"
	"github.com/containernetworking/cni/pkg/types/create"
)

// TestPlain holds what is read and written here against the library.
func TestPlain(t *testing.T) {
	read := 0
	for _, body := range []string{
		``,
		`,"ips":[],"interfaces":[],"routes":[],"dns":{}`,
		`,"ips":[{"address":"10.1.2.3/24"}]`,
		`,"ips":[{"address":"fd00::1/64","gateway":"fd00::2","interface":0},{"interface":7,"address":"10.1.2.3/24","gateway":"10.1.2.1"},{}]`,
		`,"interfaces":[{"name":"eth0","mac":"02:00:00:00:00:01","mtu":1500,"sandbox":"/n","socketPath":"/s","pciID":"0000:00:01.0","other":[{}]},{"name":""}]`,
		`,"routes":[{"dst":"0.0.0.0/0"},{"dst":"fd00::/8","gw":"fe80::1","mtu":1400,"advmss":1360,"priority":5,"table":100,"scope":253},{"dst":"10.0.0.0/8","table":0,"scope":0}]`,
		`,"dns":{"nameservers":["10.0.0.1","<&>"],"domain":"a.example","search":["b.example"],"options":["ndots:5"]}`,
		`,"IPs":[{"Address":"10.1.2.3/24"}],"unknown":{"a":1}`,
		`,"ips":null,"dns":null`,
		`,"ips":[null]`, `,"interfaces":[null]`, `,"routes":[null]`, `,"ips":[{"address":"10.1.2.3"}]`, `,"ips":[{"address":"10.1.2.3/24","gateway":"x"}]`,
		`,"ips":[{"address":null}]`, `,"routes":[{"dst":null}]`, `,"ips":[{"address":"10.1.2.3/24","gateway":null,"interface":null}]`,
		`,"routes":[{"dst":""}]`, `,"interfaces":[{"name":3}]`, `,"ips":{}`, `,"dns":[]`,
	} {
		for _, version := range plain {
			text := []byte(`{"cniVersion":"` + version + `"` + body + `}`)
			r, ok := parsePlain(text)
			if !ok {
				if _, err := ParseResult("x", text, version); err == nil {
					t.Errorf("%s is left to the library, which reads it", text)
				}
				continue
			}
			read++
			versioned, err := create.Create(version, text)
			if err != nil {
				t.Errorf("%s is read, and the library does not: %v", text, err)
				continue
			}
			want, err := current.NewResultFromResult(versioned)
			if err != nil {
				t.Fatal(err)
			}
			for _, as := range plain {
				got, err := Print(r, as)
				if err != nil {
					t.Fatal(err)
				}
				form, err := want.GetAsVersion(as)
				if err != nil {
					t.Fatal(err)
				}
				if library, err := json.MarshalIndent(form, "", "    "); err != nil || !bytes.Equal(got, library) {
					t.Errorf("%s as %s is written as\n%s\nwant\n%s", text, as, got, library)
				}
			}
		}
	}
	if read < 16 {
		t.Errorf("only %d results were read", read)
	}
}
