package integration

import (
	"encoding/json"
	"fmt"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
)

// object is what the tests look at of one of Kubernetes'.
type object struct {
	Kind     string
	Metadata struct{ Name, Namespace string }
	Data     map[string]string
	Spec     struct {
		Selector struct{ MatchLabels map[string]string }
		Template struct {
			Metadata struct{ Labels map[string]string }
			Spec     podSpec
		}
	}
}

type podSpec struct {
	HostNetwork                  bool
	HostPID, HostIPC             bool
	AutomountServiceAccountToken *bool
	InitContainers, Containers   []container
	Volumes                      []volume
}

type volume struct {
	Name      string
	HostPath  *struct{ Path string }
	ConfigMap *struct{ Name string }
	EmptyDir  *struct{}
}

type container struct {
	Name, Image     string
	Command, Args   []string
	ReadinessProbe  struct{ Exec struct{ Command []string } }
	SecurityContext struct {
		RunAsUser                            *int
		Privileged, AllowPrivilegeEscalation *bool
		ReadOnlyRootFilesystem               bool
		Capabilities                         struct{ Add, Drop []string }
		SeccompProfile                       struct{ Type string }
	}
	VolumeMounts []struct {
		Name, MountPath string
		ReadOnly        bool
	}
}

// manifests are the objects of conflist-examples/kubernetes, decoded strictly by Kubernetes' own types: a key that it does
// not know, or of another type, is an error. They are a module apart, so that the suite has nothing of them.
var manifests = sync.OnceValues(func() (map[string]object, error) {
	files, err := filepath.Glob(filepath.Join(examples, "kubernetes", "*.yaml"))
	if err != nil {
		return nil, err
	}
	decode := exec.Command("go", append([]string{"run", "."}, files...)...)
	decode.Dir = filepath.Join(root, "integration/testdata/kubernetes")
	out, err := decode.Output()
	if exit, ok := err.(*exec.ExitError); ok {
		err = fmt.Errorf("%w: %s", err, exit.Stderr)
	}
	found := map[string]object{}
	for d := json.NewDecoder(strings.NewReader(string(out))); err == nil && d.More(); {
		var o object
		err = d.Decode(&o)
		found[o.Kind+" "+o.Metadata.Name] = o
	}
	return found, err
})

// TestManifests: what Kubernetes' types take is asked for, and no privilege more than to write into two folders of a node.
func TestManifests(t *testing.T) {
	t.Parallel()
	objects, err := manifests()
	must(t, err)
	if got := objects["ConfigMap catena"].Data["10-flannel.conflist"]; got != example(t, "10-flannel.conflist") {
		t.Errorf("the ConfigMap is not 10-flannel.conflist but\n%s", got)
	}
	for _, name := range []string{"catena", "catena-uninstall"} {
		o, ok := objects["DaemonSet "+name]
		pod := o.Spec.Template.Spec
		if !ok || o.Metadata.Namespace != "kube-system" || fmt.Sprint(o.Spec.Selector.MatchLabels) != fmt.Sprint(o.Spec.Template.Metadata.Labels) {
			t.Errorf("%s is %+v", name, o)
		}
		if !pod.HostNetwork || pod.HostPID || pod.HostIPC || pod.AutomountServiceAccountToken == nil || *pod.AutomountServiceAccountToken {
			t.Errorf("%s has %+v", name, pod)
		}
		var paths []string
		for _, volume := range pod.Volumes {
			if volume.HostPath != nil {
				paths = append(paths, volume.HostPath.Path)
			}
		}
		if !slices.Equal(paths, []string{"/opt/cni/bin", "/etc/cni/net.d"}) {
			t.Errorf("%s has of the node %q", name, paths)
		}
		for _, c := range slices.Concat(pod.InitContainers, pod.Containers) {
			s := c.SecurityContext
			if s.RunAsUser == nil || s.Privileged == nil || *s.Privileged || s.AllowPrivilegeEscalation == nil || *s.AllowPrivilegeEscalation || !s.ReadOnlyRootFilesystem ||
				len(s.Capabilities.Add) > 0 || !slices.Equal(s.Capabilities.Drop, []string{"ALL"}) || s.SeccompProfile.Type != "RuntimeDefault" {
				t.Errorf("%s's container %s has %+v", name, c.Name, s)
			}
			for _, mount := range c.VolumeMounts {
				if !slices.ContainsFunc(pod.Volumes, func(v volume) bool { return v.Name == mount.Name }) {
					t.Errorf("%s's container %s mounts %s, which is no volume", name, c.Name, mount.Name)
				}
			}
		}
	}
}
