package main

import (
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"syscall"
	"testing"

	"github.com/catena-cni/catena/internal/cni"
	"github.com/catena-cni/catena/internal/kerneltest"
)

const classic = "FLANNEL_NETWORK=192.168.0.0/16\nFLANNEL_SUBNET=192.168.22.129/26\nFLANNEL_MTU=1450\nFLANNEL_IPMASQ=false\n"

func TestParseLease(t *testing.T) {
	six := "FLANNEL_IPV6_NETWORK=fd00:42::/56\nFLANNEL_IPV6_SUBNET=fd00:42:0:1::1/64\n"
	v4 := "[192.168.0.0/16] [192.168.22.128/26] 1450 false"
	for name, c := range map[string]struct{ text, want string }{
		"as flanneld writes it":  {classic, v4},
		"another system's":       {strings.ReplaceAll(classic, "\n", "\r\n"), v4},
		"no line end":            {strings.TrimSuffix(classic, "\n"), v4},
		"for a shell":            {"# lease\n\n" + strings.NewReplacer("FLANNEL_", "export FLANNEL_", "=", "='", "\n", "'\n").Replace(classic), v4},
		"double quotes":          {strings.NewReplacer("=", " = \"", "\n", "\" \n").Replace(classic), v4},
		"others' keys and words": {"FLANNEL_FUTURE=1\nFLANNEL_NETWORKS\nhello\n=\nexportFLANNEL_MTU=1\n" + classic, v4},
		"both families":          {classic + six, "[192.168.0.0/16 fd00:42::/56] [192.168.22.128/26 fd00:42:0:1::/64] 1450 false"},
		"IPv6 alone":             {six + "FLANNEL_MTU=1430\nFLANNEL_IPMASQ=true\n", "[fd00:42::/56] [fd00:42:0:1::/64] 1430 true"},
		"empty is not there":     {"FLANNEL_IPV6_NETWORK=\nFLANNEL_IPV6_SUBNET=\"\"\n" + classic, v4},
		"several networks":       {classic + "FLANNEL_NETWORK=10.0.0.0/8, 10.0.0.0/8,172.16.1.0/12\n", "[10.0.0.0/8 172.16.0.0/12] [192.168.22.128/26] 1450 false"},
		"the last one counts":    {"FLANNEL_MTU=9\n" + classic + "FLANNEL_IPMASQ=true", "[192.168.0.0/16] [192.168.22.128/26] 1450 true"},
		"only true is true":      {strings.Replace(classic, "=false", "=yes", 1), v4},
		"no MTU of its own":      {strings.Replace(classic, "=1450", "=0", 1), "[192.168.0.0/16] [192.168.22.128/26] 0 false"},
	} {
		l, err := parseLease(c.text)
		if got := fmt.Sprintf("%v %v %d %t", l.networks, l.subnets, l.mtu, l.ipMasq); err != nil || got != c.want {
			t.Errorf("%s: %s, %v; want %s", name, got, err, c.want)
		}
	}
}

// TestParseBadLease wants all that is wrong said at once, with its line.
func TestParseBadLease(t *testing.T) {
	for text, words := range map[string]string{
		"": "FLANNEL_NETWORK or FLANNEL_IPV6_NETWORK is missing|FLANNEL_SUBNET or FLANNEL_IPV6_SUBNET is missing|FLANNEL_MTU is missing|FLANNEL_IPMASQ is missing",
		strings.Replace(classic, "FLANNEL_MTU=", "FLANNEL_MTU ", 1):                                "FLANNEL_MTU is missing",
		strings.Replace(classic, "FLANNEL_MTU=1450", "FLANNEL_MTU", 1):                             "line 3: FLANNEL_MTU has no '='|FLANNEL_MTU is missing",
		strings.Replace(classic, "1450", "many", 1):                                                `line 3: FLANNEL_MTU is "many"|0 to 65535`,
		strings.Replace(classic, "1450", "-1", 1):                                                  `line 3: FLANNEL_MTU is "-1"`,
		strings.Replace(classic, "1450", "65536", 1):                                               `FLANNEL_MTU is "65536"`,
		strings.Replace(classic, "129/26", "129", 1):                                               `line 2: FLANNEL_SUBNET is "192.168.22.129"`,
		strings.Replace(classic, "192.168.0.0/16", "192.168.0.0/16,10.0.0.0/33", 1):                `line 1: FLANNEL_NETWORK is "10.0.0.0/33"`,
		"# x\r\n\r\n" + strings.NewReplacer("1450", "x", "/26", "/y").Replace(classic):             `line 4: FLANNEL_SUBNET|line 5: FLANNEL_MTU`,
		"FLANNEL_IPV6_NETWORK=" + strings.Repeat("x", 9999) + "\n" + classic:                       `line 1: FLANNEL_IPV6_NETWORK`,
		"FLANNEL_NETWORK\nFLANNEL_IPV6_NETWORK\nFLANNEL_SUBNET\nFLANNEL_MTU\nFLANNEL_IPMASQ\n\x00": "line 1:|line 2:|line 3:|line 4:|line 5:",
	} {
		_, err := parseLease(text)
		if err == nil {
			t.Errorf("%.300q is accepted", text)
			continue
		}
		for w := range strings.SplitSeq(words, "|") {
			if !strings.Contains(err.Error(), w) || len(err.Error()) > 1000 {
				t.Errorf("%.300q: it does not say %q: %v", text, w, err)
			}
		}
	}
}

// TestReadLease: whatever stands at the path, it is said, and soon.
func TestReadLease(t *testing.T) {
	dir := t.TempDir()
	for name, make := range map[string]func(path string) error{
		"absent": func(string) error { return nil },
		"folder": func(path string) error { return os.Mkdir(path, 0o700) },
		"pipe":   func(path string) error { return syscall.Mkfifo(path, 0o600) },
		"huge":   func(path string) error { return os.WriteFile(path, []byte(strings.Repeat("#\n", leaseMax)), 0o600) },
		"empty":  func(path string) error { return os.WriteFile(path, nil, 0o600) },
	} {
		path := filepath.Join(dir, name)
		if err := make(path); err != nil {
			t.Fatal(err)
		}
		_, err := readLease(path)
		if err == nil || !strings.Contains(err.Error(), path) {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if hint := cni.AsError(err).Details; name == "absent" && !strings.Contains(hint, "--subnet-file") {
			t.Errorf("nobody is told what to look at: %s", hint)
		}
	}
}

// FuzzParseLease: a lease of any text is refused well, or the same when flanneld writes it.
func FuzzParseLease(f *testing.F) {
	f.Add(classic)
	f.Add("export FLANNEL_MTU='\nFLANNEL_SUBNET\n\"")
	f.Add(classic + "FLANNEL_IPV6_NETWORK=fd00:42::/56,::ffff:10.0.0.0/104\r\nFLANNEL_IPV6_SUBNET=fd00:42:0:1::1/64")
	f.Fuzz(func(t *testing.T, text string) {
		if len(text) > leaseMax {
			return
		}
		l, err := parseLease(text)
		if kerneltest.Refused(t, err) {
			return
		}
		var networks []string
		for _, n := range l.networks {
			networks = append(networks, n.String())
		}
		written := fmt.Sprintf("FLANNEL_NETWORK=%s\nFLANNEL_SUBNET=%v\nFLANNEL_MTU=%d\nFLANNEL_IPMASQ=%t\n", strings.Join(networks, ","), l.subnets[0], l.mtu, l.ipMasq)
		if len(l.subnets) > 1 {
			written += fmt.Sprintf("FLANNEL_IPV6_SUBNET=%v\n", l.subnets[1])
		}
		if again, err := parseLease(written); err != nil || !reflect.DeepEqual(again, l) {
			t.Errorf("%q: %+v, and again %+v: %v", text, l, again, err)
		}
	})
}
