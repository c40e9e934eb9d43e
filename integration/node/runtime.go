package node

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"syscall"
	"time"

	"github.com/containernetworking/cni/libcni"
	"github.com/containernetworking/cni/pkg/invoke"
	"github.com/containernetworking/cni/pkg/types"
	types100 "github.com/containernetworking/cni/pkg/types/100"
	"github.com/containernetworking/cni/pkg/version"
)

// Runtime attaches pods with libcni, as container runtimes do.
type Runtime struct {
	node *Node
	exec *recorder
	cni  *libcni.CNIConfig
	ctx  context.Context
}

// Call is one run of a plugin, as libcni saw it.
type Call struct {
	Plugin string
	Verb   string
	Stdin  []byte
	Stdout []byte
	Stderr []byte
	Took   time.Duration
	Err    error
}

// Attachment is a pod in a network.
type Attachment struct {
	Pod    *Pod
	List   *libcni.NetworkConfigList
	IfName string
	Ports  []Port // handed to plugins with the capability portMappings
	Caps   map[string]any
	Args   [][2]string
}

// Port is one port mapping, in the words of the CNI conventions.
type Port struct {
	HostPort      int    `json:"hostPort"`
	ContainerPort int    `json:"containerPort"`
	Protocol      string `json:"protocol"`
	HostIP        string `json:"hostIP,omitempty"`
}

// Runtime makes a runtime that finds plugins in the folders given and tells watch of every call, if watch is not nil.
func (n *Node) Runtime(watch func(Call), plugins ...string) *Runtime {
	exec := &recorder{watch: watch}
	return &Runtime{node: n, exec: exec, cni: libcni.NewCNIConfig(plugins, exec), ctx: context.Background()}
}

// Within is the same runtime with calls that end with ctx: a plugin that runs then is killed.
func (r *Runtime) Within(ctx context.Context) *Runtime {
	bound := *r
	bound.ctx = ctx
	return &bound
}

// Load reads a .conflist or a .conf. A version that is not empty replaces the file's own, since CHECK, STATUS and GC only
// exist from some version on.
func Load(file, cniVersion string) (*libcni.NetworkConfigList, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	list, err := Parse(text, cniVersion)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	return list, nil
}

// Parse is Load for a text.
func Parse(text []byte, cniVersion string) (*libcni.NetworkConfigList, error) {
	var fields map[string]json.RawMessage
	if err := json.Unmarshal(text, &fields); err != nil {
		return nil, err
	}
	if cniVersion != "" {
		fields["cniVersion"], _ = json.Marshal(cniVersion)
	}
	var list any = fields
	if _, ok := fields["plugins"]; !ok {
		list = map[string]any{"cniVersion": fields["cniVersion"], "name": fields["name"], "plugins": []any{fields}}
	}
	text, err := json.Marshal(list)
	if err != nil {
		return nil, err
	}
	return libcni.NetworkConfFromBytes(text)
}

// Conf is the attachment in libcni's words.
func (a Attachment) Conf() *libcni.RuntimeConf {
	caps := map[string]any{}
	for key, value := range a.Caps {
		caps[key] = value
	}
	if a.Ports != nil {
		caps["portMappings"] = a.Ports
	}
	return &libcni.RuntimeConf{ContainerID: a.Pod.ID, NetNS: a.Pod.Path, IfName: a.IfName, Args: a.Args, CapabilityArgs: caps}
}

// Add attaches. As with every runtime, whoever called it also calls Del when it failed.
func (r *Runtime) Add(a Attachment) (*types100.Result, error) {
	var result types.Result
	err := r.node.Do(func() (err error) {
		result, err = r.cni.AddNetworkList(r.ctx, a.List, a.Conf())
		return err
	})
	if err != nil {
		return nil, err
	}
	return types100.NewResultFromResult(result)
}

// Check runs CHECK over the attachment's list.
func (r *Runtime) Check(a Attachment) error {
	return r.node.Do(func() error { return r.cni.CheckNetworkList(r.ctx, a.List, a.Conf()) })
}

// Del runs DEL over the attachment's list, backwards.
func (r *Runtime) Del(a Attachment) error {
	return r.node.Do(func() error { return r.cni.DelNetworkList(r.ctx, a.List, a.Conf()) })
}

// Status runs STATUS over a list.
func (r *Runtime) Status(list *libcni.NetworkConfigList) error {
	return r.node.Do(func() error { return r.cni.GetStatusNetworkList(r.ctx, list) })
}

// GC runs GC over a list; the attachments given are the ones that live.
func (r *Runtime) GC(list *libcni.NetworkConfigList, valid ...Attachment) error {
	args := &libcni.GCArgs{ValidAttachments: []types.GCAttachment{}}
	for _, a := range valid {
		args.ValidAttachments = append(args.ValidAttachments, types.GCAttachment{ContainerID: a.Pod.ID, IfName: a.IfName})
	}
	return r.node.Do(func() error { return r.cni.GCNetworkList(r.ctx, list, args) })
}

// Forget removes what libcni remembers of an attachment, as a runtime does that lost its state: from then on only GC
// knows that it was there.
func (r *Runtime) Forget(a Attachment) error {
	path := filepath.Join(libcni.CacheDir, "results", a.List.Name+"-"+a.Pod.ID+"-"+a.IfName)
	return r.node.Do(func() error { return os.Remove(path) })
}

// recorder runs plugins as libcni itself would, and tells of it.
type recorder struct {
	version.PluginDecoder
	mu    sync.Mutex
	watch func(Call)
}

func (r *recorder) FindInPath(plugin string, paths []string) (string, error) {
	return invoke.FindInPath(plugin, paths)
}

func (r *recorder) ExecPlugin(ctx context.Context, path string, stdin []byte, env []string) ([]byte, error) {
	var stdout, stderr bytes.Buffer
	began := time.Now()
	err := error(syscall.ETXTBSY)
	for errors.Is(err, syscall.ETXTBSY) && time.Since(began) < patience { // as libcni: who has just written the program still has it open
		cmd := exec.CommandContext(ctx, path)
		cmd.Env, cmd.Stdin, cmd.Stdout, cmd.Stderr = env, bytes.NewReader(stdin), &stdout, &stderr
		err = runBounded(cmd)
	}
	err = saidBy(err, stdout.Bytes(), stderr.Bytes())
	if r.watch != nil {
		r.mu.Lock()
		defer r.mu.Unlock()
		r.watch(Call{
			Plugin: filepath.Base(path), Verb: lookup(env, "CNI_COMMAND"), Stdin: stdin, Stdout: stdout.Bytes(), Stderr: stderr.Bytes(),
			Took: time.Since(began), Err: err,
		})
	}
	return stdout.Bytes(), err
}

// saidBy is a plugin's error as libcni's own way to execute plugins takes it, with all that a plugin said that was ended.
func saidBy(err error, stdout, stderr []byte) error {
	if err == nil || errors.Is(err, ErrHung) {
		return err
	}
	said := &types.Error{}
	switch {
	case len(stdout) == 0:
		said.Msg = fmt.Sprintf("netplugin failed: %q: %v", stderr, err)
	case json.Unmarshal(stdout, said) != nil:
		said.Msg = fmt.Sprintf("netplugin failed, and its error %q cannot be read: %v", stdout, err)
	}
	return said
}

// lookup finds the last value of a variable, which is the one that counts.
func lookup(env []string, key string) string {
	for i := len(env) - 1; i >= 0; i-- {
		if len(env[i]) > len(key) && env[i][:len(key)] == key && env[i][len(key)] == '=' {
			return env[i][len(key)+1:]
		}
	}
	return ""
}
