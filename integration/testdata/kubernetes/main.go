// Command manifests decodes Kubernetes' objects strictly by their own Go types, and prints them as JSON, one a line.
package main

import (
	"encoding/json"
	"fmt"
	"os"
	"strings"

	apps "k8s.io/api/apps/v1"
	core "k8s.io/api/core/v1"
	"sigs.k8s.io/yaml"
)

func main() {
	for _, file := range os.Args[1:] {
		text, err := os.ReadFile(file)
		for one := range strings.SplitSeq(string(text), "\n---\n") {
			if err == nil {
				err = print(one + "\n")
			}
		}
		if err != nil {
			fmt.Fprintf(os.Stderr, "%s: %v\n", file, err)
			os.Exit(1)
		}
	}
}

func print(text string) error {
	var kind struct{ APIVersion, Kind string }
	if err := yaml.Unmarshal([]byte(text), &kind); err != nil {
		return err
	}
	object, known := map[string]any{"apps/v1 DaemonSet": &apps.DaemonSet{}, "v1 ConfigMap": &core.ConfigMap{}}[kind.APIVersion+" "+kind.Kind]
	if !known {
		return fmt.Errorf("there is no %s %s", kind.APIVersion, kind.Kind)
	}
	if err := yaml.UnmarshalStrict([]byte(text), object); err != nil {
		return err
	}
	return json.NewEncoder(os.Stdout).Encode(object)
}
