package integration

import (
	"encoding/json"
	"fmt"
	"maps"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// size of a value that is large for a configuration, in bytes, and many times what is printed about it.
const size = 32 << 10

// large are such values in JSON.
var large = []string{
	`"` + strings.Repeat("x", size) + `"`,
	"{" + manyKeys(size/12) + "}",
	`["` + strings.Repeat(`x","`, size/4) + `"]`,
	`{"` + strings.Repeat("x", size) + `":1}`,
	`"` + strings.Repeat(`\u0001`, size/6) + `"`,
	"1" + strings.Repeat("0", size),
	strings.Repeat("[", 1<<9) + strings.Repeat("]", 1<<9),
}

func manyKeys(n int) string {
	keys := make([]string, n)
	for i := range keys {
		keys[i] = fmt.Sprintf(`"k%07d":0`, i)
	}
	return strings.Join(keys, ",")
}

// answerMax is more than anybody reads of an error, in bytes.
const answerMax = 8 << 10

// TestLargeValues: a large value of any key of any plugin's configuration, or of a variable, is no reason to print as
// much.
func TestLargeValues(t *testing.T) {
	for plugin, confs := range filled {
		t.Run(plugin, func(t *testing.T) {
			t.Parallel()
			n, tried := newNode(t), 0
			try := func(what, conf string, env ...string) {
				tried++
				cmd := exec.Command(filepath.Join(plugins, plugin))
				cmd.Env = append([]string{"CNI_COMMAND=ADD", "CNI_CONTAINERID=c", "CNI_IFNAME=eth0", "CNI_NETNS=/nowhere", "CNI_PATH=/nowhere", "CNI_ARGS=A=b;IgnoreUnknown=1"}, env...)
				var stdout, stderr strings.Builder
				cmd.Stdin, cmd.Stdout, cmd.Stderr = strings.NewReader(conf), &stdout, &stderr
				must(t, n.Start(cmd))
				err := cmd.Wait()
				// What a result repeats is asked for.
				if err != nil && stdout.Len() > answerMax || stderr.Len() > answerMax {
					t.Errorf("%s: %d and %d bytes are printed: %.200s%.200s", what, stdout.Len(), stderr.Len(), stdout.String(), stderr.String())
				}
			}
			for _, c := range confs {
				c = fmt.Sprintf(`{"cniVersion":"1.0.0","name":"net","type":%q,%s`, plugin, strings.ReplaceAll(c, "SUBNETENV", "/nowhere"))
				var conf map[string]any
				must(t, json.Unmarshal([]byte(strings.TrimSuffix(c, ",")+"}"), &conf))
				inside(conf, conf, "", func(path, text string) {
					try(path, strings.Replace(text, `"\u0001"`, large[tried%3], 1))
				})
			}
			whole := fmt.Sprintf(`{"cniVersion":"1.0.0","name":"net","type":%q}`, plugin)
			for _, value := range large {
				try("the configuration", value)
				try("an unknown key", strings.Replace(whole, "{", `{"strict":true,"unknown":`+value+`,`, 1))
				try("cniVersion", strings.Replace(whole, `"1.0.0"`, value, 1))
				try("name", strings.Replace(whole, `"net"`, value, 1))
			}
			try("an unknown key's name", `{"`+strings.Repeat("x", size)+`":1,`+whole[1:])
			long := strings.Repeat("x", 100<<10) // a variable cannot be longer
			for _, v := range []string{"COMMAND", "CONTAINERID", "IFNAME", "NETNS"} {
				try(v, whole, "CNI_"+v+"="+long)
			}
			if tried < 30 {
				t.Errorf("only %d were tried", tried)
			}
		})
	}
}

// inside calls try for each key of a value at any depth, with the text of the whole in which "\u0001" is that key's.
func inside(whole, value any, path string, try func(path, text string)) {
	switch value := value.(type) {
	case map[string]any:
		for _, key := range slices.Sorted(maps.Keys(value)) {
			before := value[key]
			value[key] = "\x01"
			text, _ := json.Marshal(whole)
			value[key] = before
			try(path+"."+key, string(text))
			inside(whole, before, path+"."+key, try)
		}
	case []any:
		for i := range value {
			inside(whole, value[i], fmt.Sprintf("%s[%d]", path, i), try)
		}
	}
}
