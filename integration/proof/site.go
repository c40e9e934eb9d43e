package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/catena-cni/catena/integration/node"
)

// site is a node with a pod, and what both were like before anything was attached.
type site struct {
	plugins string // their folder
	chain   chain
	confs   []map[string]any
	node    *node.Node
	pod     *node.Pod
	servers []func() // each ends one
	before  state
	upTo    *attached // what is attached between two points, if anything

	always strike // what becomes of executions that nobody strikes otherwise
	struck int    // how many calls were struck
	lives  bool   // GC is told that the pod is valid

	// collected says that GC has taken what the pod's side would have been put back by: what is left there ends with the pod.
	collected bool
}

// state is all that is to be seen of a node and its pod.
type state struct{ node, pod string }

// ifName is the pod's interface in the chain.
func (c chain) ifName() string {
	if c.name == "loopback" {
		return "lo"
	}
	return "eth0"
}

// newSite makes one.
func newSite(p *proof, c chain) (*site, error) {
	s := &site{plugins: p.plugins, chain: c}
	if err := json.Unmarshal([]byte(c.plugins), &s.confs); err != nil {
		return nil, fmt.Errorf("%s: %w", c.plugins, err)
	}
	return s, s.renew()
}

// renew gives the site a new node and a new pod. What pods share is there already, as an attachment has come and gone.
func (s *site) renew() (err error) {
	s.close()
	s.upTo, s.collected = nil, false
	if s.node, err = node.New(); err != nil {
		return err
	}
	if s.chain.prepare != "" {
		if _, err := s.node.Run("sh", "-ec", s.chain.prepare); err != nil {
			return err
		}
	}
	if err := s.makePod(); err != nil {
		return err
	}
	if err := s.serve(); err != nil {
		return err
	}
	for range 2 { // a bridge that is there already can be changed by the second
		if _, err = s.addAll(); err == nil {
			err = s.all("DEL", nil)
		}
		if err != nil {
			return err
		}
	}
	if err = errors.Join(s.rest(), s.begin()); err == nil {
		s.before, err = s.state()
	}
	return err
}

// begin takes away what pods share, where the chain wants that.
func (s *site) begin() error {
	if s.chain.anew == "" {
		return nil
	}
	_, err := s.node.Run("sh", "-c", s.chain.anew)
	return err
}

// serve starts what the plugins speak to, and waits until they find it.
func (s *site) serve() error {
	for _, command := range s.chain.servers {
		if err := s.start(exec.Command("sh", "-c", "exec "+command)); err != nil {
			return err
		}
	}
	if len(s.servers) == 0 {
		return nil
	}
	return until(func() error { return s.all("STATUS", nil) })
}

// start starts a program that ends with the site, and with this one.
func (s *site) start(cmd *exec.Cmd) error {
	cmd.Env = []string{searched, "CNI_PATH=" + s.plugins}
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL} // once the thread has ended that has started it
	done := make(chan error, 2)
	go func() {
		done <- s.node.Do(func() error {
			if err := cmd.Start(); err != nil {
				return err
			}
			done <- nil
			return cmd.Wait()
		})
	}()
	if err := <-done; err != nil {
		return err
	}
	s.servers = append(s.servers, func() {
		_ = cmd.Process.Kill()
		<-done
	})
	return nil
}

// rest waits until servers have nothing of a pod any more: no server answers to what gives a lease back.
func (s *site) rest() error {
	if s.chain.rests == "" {
		return nil
	}
	return until(func() error {
		_, err := s.node.Run("sh", "-ec", s.chain.rests)
		return err
	})
}

// until tries again until something succeeds, as what another program does in its own time.
func until(try func() error) (err error) {
	for began := time.Now(); time.Since(began) < longest; time.Sleep(10 * time.Millisecond) {
		if err = try(); err == nil {
			return nil
		}
	}
	return err
}

// newPod ends the pod's namespace, and makes another one in its place. A thread that has looked into it keeps it from ending
// until it has ended itself.
func (s *site) newPod() error {
	inside, err := s.pod.Run("readlink", "/proc/self/ns/net")
	if err == nil {
		err = s.pod.Remove()
	}
	for began := time.Now(); err == nil; time.Sleep(time.Millisecond) {
		threads, gerr := filepath.Glob("/proc/self/task/*/ns/net")
		if !slices.ContainsFunc(threads, func(thread string) bool {
			at, _ := os.Readlink(thread)
			return at == strings.TrimSpace(inside)
		}) {
			break
		}
		if err = gerr; time.Since(began) > longest {
			err = errors.New("a thread stays in the pod's namespace")
		}
	}
	if err != nil {
		return err
	}
	s.collected = false
	return s.makePod()
}

func (s *site) makePod() (err error) {
	if s.pod, err = s.node.Pod("p"); err == nil && s.chain.pod != "" {
		_, err = s.pod.Run("sh", "-ec", s.chain.pod)
	}
	return err
}

func (s *site) close() {
	for _, end := range s.servers {
		end()
	}
	s.servers = nil
	if s.pod != nil {
		_ = s.pod.Remove()
		s.pod = nil
	}
	if s.node != nil {
		_ = s.node.Close()
		s.node = nil
	}
}

// state looks at both sides.
func (s *site) state() (now state, err error) {
	now.node, err = s.node.Text()
	if err == nil {
		now.pod, err = s.pod.Text()
	}
	return now, err
}

// settling is how long the kernel may take for what it does in its own time, on the busiest machine.
const settling = 10 * time.Second

// left is what is there beside a state, and what is missing of it. The kernel takes namespaces apart in its own time, and so
// what is there is looked at again.
func (s *site) left(before state, podToo bool) (left []string, err error) {
	for began := time.Now(); ; time.Sleep(100 * time.Millisecond) {
		text, err := s.node.Text()
		if err != nil {
			return nil, err
		}
		_, left = node.Left(before.node, text, "cni0")
		if podToo && s.pod != nil {
			text, err := s.pod.Text()
			if err != nil {
				return nil, err
			}
			gone, come := node.Diff(before.pod, text)
			for _, line := range gone {
				left = append(left, "missing in the pod: "+line)
			}
			for _, line := range come {
				left = append(left, "in the pod: "+line)
			}
		}
		if len(left) == 0 || time.Since(began) > settling {
			return left, nil
		}
	}
}

// searched is where programs are looked for.
const searched = "PATH=/usr/sbin:/usr/bin:/sbin:/bin"

// call executes the plugin of a number in the chain.
func (s *site) call(verb string, k int, prev json.RawMessage, more strike) (o outcome, err error) {
	conf := map[string]any{"cniVersion": "1.1.0", "name": "proof"}
	for key, value := range s.confs[k] {
		conf[key] = value
	}
	switch {
	case verb == "GC":
		valid := []any{}
		if s.lives {
			valid = append(valid, map[string]string{"containerID": s.pod.ID, "ifname": s.chain.ifName()})
		}
		conf["cni.dev/valid-attachments"] = valid
	case prev != nil:
		conf["prevResult"] = prev
	}
	text, err := json.Marshal(conf)
	if err != nil {
		return o, err
	}
	plugin := conf["type"].(string)
	cmd := exec.Command(filepath.Join(s.plugins, plugin))
	cmd.Env = []string{searched, "CNI_PATH=" + s.plugins, "CNI_COMMAND=" + verb}
	if verb != "GC" && verb != "STATUS" {
		cmd.Env = append(cmd.Env, "CNI_CONTAINERID="+s.pod.ID, "CNI_NETNS="+s.pod.Path, "CNI_IFNAME="+s.chain.ifName())
	}
	err = s.node.Do(func() error {
		files, err := standardFiles(text)
		if err != nil {
			return err
		}
		defer closeFiles(files)
		cmd.Stdin, cmd.Stdout, cmd.Stderr = files[0], files[1], files[2]
		if more.counts == nil {
			o, err = run(cmd)
		} else {
			o, err = trace(cmd, more)
		}
		if err != nil {
			return err
		}
		o.stdout, o.stderr = content(files[1]), content(files[2])
		s.struck += len(o.struck)
		return nil
	})
	return o, err
}

// run executes a program that is left alone.
func run(cmd *exec.Cmd) (o outcome, err error) {
	if err := cmd.Start(); err != nil {
		return o, err
	}
	impatient := time.AfterFunc(longest, func() {
		o.hung = true
		_ = cmd.Process.Kill()
	})
	defer impatient.Stop()
	_ = cmd.Wait() // its status says it
	o.status = unix.WaitStatus(cmd.ProcessState.Sys().(syscall.WaitStatus))
	return o, nil
}

// standardFiles are those of a program, in memory, since a pipe would want a reader.
func standardFiles(stdin []byte) (files [3]*os.File, err error) {
	for i := range files {
		fd, err := unix.MemfdCreate("proof", unix.MFD_CLOEXEC)
		if err != nil {
			closeFiles(files)
			return files, fmt.Errorf("memfd_create: %w", err)
		}
		files[i] = os.NewFile(uintptr(fd), "proof")
	}
	if _, err = files[0].Write(stdin); err == nil {
		_, err = files[0].Seek(0, io.SeekStart)
	}
	return files, err
}

func closeFiles(files [3]*os.File) {
	for _, f := range files {
		if f != nil {
			f.Close()
		}
	}
}

func content(f *os.File) string {
	text, err := io.ReadAll(io.NewSectionReader(f, 0, 1<<20))
	return strings.TrimSpace(string(text)) + errText(err)
}

func errText(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}

// add is ADD of the plugins of the chain from the one number to before the other, over what those before have made.
func (s *site) add(from, to int, prev json.RawMessage) (json.RawMessage, error) {
	for k := from; k < to; k++ {
		o, err := s.call("ADD", k, prev, s.always)
		if err == nil {
			err = s.said("ADD", k, o)
		}
		if err != nil {
			return nil, err
		}
		prev = json.RawMessage(o.stdout)
	}
	return prev, nil
}

func (s *site) addAll() (json.RawMessage, error) { return s.add(0, len(s.confs), nil) }

// all executes a verb for all plugins.
func (s *site) all(verb string, prev json.RawMessage) error {
	return s.each(verb, 0, len(s.confs), prev)
}

// each executes a verb for the plugins from the one number to before the other, the last one first for DEL. None of them keeps
// the others from it.
func (s *site) each(verb string, from, to int, prev json.RawMessage) error {
	var errs []error
	for i := range to - from {
		k := from + i
		if verb == "DEL" {
			k = to - 1 - i
		}
		o, err := s.call(verb, k, prev, s.always)
		if err == nil {
			err = s.said(verb, k, o)
		}
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

// said is an execution's error.
func (s *site) said(verb string, k int, o outcome) error {
	if o.ok() {
		return nil
	}
	return fmt.Errorf("%s of %s %s: %s %s", verb, s.confs[k]["type"], ended(o), oneLine(o.stdout), oneLine(o.stderr))
}

// ended says how a program has ended.
func ended(o outcome) string {
	switch {
	case o.hung:
		return "hung"
	case o.status.Signaled():
		return "was ended by " + o.status.Signal().String()
	}
	return fmt.Sprint("ended with ", o.status.ExitStatus())
}

func oneLine(text string) string {
	text = strings.Join(strings.Fields(text), " ")
	return text[:min(len(text), 400)]
}
