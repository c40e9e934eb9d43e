package iptables

import (
	"slices"
	"strings"
	"testing"
)

// TestSplit: words are as iptables writes them, in quotes where it must.
func TestSplit(t *testing.T) {
	t.Parallel()
	line := `-A X -m comment --comment "name: \"n\" id: \"c\"" --comment "" -s 10.1.2.3/32 --comment "it\'s back\\slash" -j  Y`
	want := []string{"-A", "X", "-m", "comment", "--comment", `name: "n" id: "c"`, "--comment", "", "-s", "10.1.2.3/32", "--comment", `it's back\slash`, "-j", "Y"}
	if got := split(line); !slices.Equal(got, want) {
		t.Errorf("%q", got)
	}
}

func TestConditions(t *testing.T) {
	t.Parallel()
	for text, fine := range map[string]bool{
		"-s 10.0.0.0/8 ! -i eth0 -m mark --mark 0x10/0x10":        true,
		"! -d 10.1.0.0/16 -p tcp -m multiport --sports 1:5,9":     true,
		"-m set ! --match-set some src -m recent --set":           true,
		"-m statistic --mode nth --every 2 -m time --weekdays -1": true,
		"":                                 true,
		"ip saddr 10.0.0.0/8":              false,
		"-s 10.0.0.0/8 -j ACCEPT":          false,
		"-jACCEPT":                         false,
		"-s 10.0.0.0/8 --jump ACCEPT":      false,
		"-s 10.0.0.0/8 --goto X":           false,
		"-s 1.2.3.4 --modprobe=/tmp/x":     false,
		"-s 1.2.3.4 --modpr /tmp/x":        false,
		"-s 1.2.3.4 --j ACCEPT":            false,
		"-s 1.2.3.4 --g X":                 false,
		"-s 1.2.3.4 --z":                   false,
		"-s 1.2.3.4 --j=ACCEPT":            false,
		"-s 1.2.3.4 --jum ACCEPT":          false,
		"-s 1.2.3.4 --se 1 1":              false,
		"-s 1.2.3.4 --":                    false,
		"-s 1.2.3.4 -M /tmp/x":             false,
		"-t filter":                        false,
		"-s 1.2.3.4 -A FORWARD":            false,
		"-s 1.2.3.4 --delete-chain":        false,
		"-s 1.2.3.4\n-F":                   false,
		"-m comment --comment a\x00b -s x": false,
	} {
		words := strings.Split(text, " ")
		if text == "" {
			words = nil
		}
		if err := CheckConditions(words); (err == nil) != fine {
			t.Errorf("%q: %v", text, err)
		}
	}
}

func TestCheckChain(t *testing.T) {
	t.Parallel()
	for chain, fine := range map[string]bool{
		"CNI-ADMIN": true, "KUBE-MARK-MASQ": true, strings.Repeat("x", 28): true, "DOCKER_USER.1": true,
		"": false, strings.Repeat("x", 29): false, "a b": false, "a\nb": false, "-A": false, "!x": false, "ACCEPT": false, "FORWARD": false, `a"b`: false,
	} {
		if err := CheckChain(chain); (err == nil) != fine {
			t.Errorf("%q: %v", chain, err)
		}
	}
}
