package main

import (
	"fmt"
	"os/exec"
	"slices"
	"strings"
	"time"

	"github.com/catena-cni/catena/integration/node"
)

// attach makes the pod of a number in the ground's network. No number comes again: what a pod has taken away with it ends in the
// kernel's own time.
func (a *arena) attach(number int) (at node.Attachment, err error) {
	at = node.Attachment{IfName: "eth0", Ports: []node.Port{{HostPort: 8000 + number, ContainerPort: 80, Protocol: "tcp"}}}
	if a.ground.what == "loopback" {
		at.IfName = "lo"
	}
	if at.List, err = a.ground.list(number); err != nil {
		return at, err
	}
	if at.Pod, err = a.Pod(fmt.Sprintf("pod-%d", number)); err == nil {
		_, err = a.runtime.Add(at)
	}
	return at, err
}

// prepare makes the device that a pod is to take.
func (a *arena) prepare(number int) error {
	_, err := a.Run("sh", "-ec", ofPod(a.ground.prepare, number))
	return err
}

// bout is one trick of a pod, and one way to detach it. What is told is what is not as it was before the pod came.
func (a *arena) bout(t trick, gc bool) (wrong []string, err error) {
	a.last++
	if a.ground.prepare != "" {
		err, a.before = a.prepare(a.last), ""
	}
	if err == nil && a.before == "" {
		a.before, err = a.text()
	}
	if err != nil {
		return nil, err
	}
	pod, err := a.attach(a.last)
	if err != nil {
		return nil, err
	}
	defer a.clear(pod.Pod.ID)
	if err := a.play(t, pod); err != nil {
		return nil, err
	}
	defer a.clear("hidden")
	way := "DEL"
	if gc {
		way = "GC"
		if err = a.runtime.Forget(pod); err == nil {
			err = a.runtime.GC(pod.List, a.other)
		}
	} else {
		err = a.runtime.Del(pod)
	}
	_ = pod.Pod.Close()
	say := func(what string) { wrong = append(wrong, fmt.Sprintf("%s, then %s: %s", t.what, way, what)) }
	if err != nil {
		say(err.Error())
	}
	left, err := a.left(t)
	for _, line := range left {
		say(line)
	}
	if err := a.runtime.Check(a.other); err != nil {
		say("the other pod: " + err.Error())
	}
	return wrong, err
}

// play does the trick. What the pod has no such thing for is refused, and the rest is done.
func (a *arena) play(t trick, pod node.Attachment) error {
	own, err := known("", pod)
	if err != nil {
		return err
	}
	env := slices.Concat(a.env, own, []string{"IF=" + pod.IfName})
	if t.hidden() {
		hidden, err := a.Pod("hidden")
		if err != nil {
			return err
		}
		env = append(env, "HIDDEN="+hidden.Path)
		_ = hidden.Close()
	}
	if t.pod != "" {
		// Of what only some interfaces have, the rest is done. A pair has it all, so that no trick is one in name alone.
		if a.ground.what == grounds[0].what {
			_, err = pod.Pod.RunWith(env, "", "sh", "-ec", t.pod)
		} else {
			_, _ = pod.Pod.RunWith(env, "", "sh", "-c", t.pod)
		}
	}
	if err == nil && t.host != "" {
		_, err = a.RunWith(env, "", "sh", "-ec", t.host)
	}
	return err
}

// clear takes away what is at a pod's path, whatever that is by now.
func (a *arena) clear(id string) {
	_, _ = a.Run("sh", "-c", fmt.Sprintf("umount -l /run/netns/%[1]s; rm -rf /run/netns/%[1]s", id))
}

// text is the node and the other pod, without the paths of namespaces, which are the pods' matter.
func (a *arena) text() (string, error) {
	of, err := a.Text()
	if err != nil {
		return "", err
	}
	other, err := a.other.Pod.Text()
	if err != nil {
		return "", err
	}
	disciplines, err := a.Run("tc", "qdisc")
	var b strings.Builder
	for _, part := range []struct{ prefix, text string }{{"", of}, {"the other pod: ", other}, {"", disciplines}} {
		for line := range strings.Lines(part.text) {
			if !strings.Contains(line, " /run/netns/") {
				b.WriteString(part.prefix + line)
			}
		}
	}
	return b.String(), err
}

// left is what is not as before, for as long as the kernel may take for what it ends in its own time.
func (a *arena) left(t trick) (left []string, err error) {
	for began := time.Now(); ; time.Sleep(100 * time.Millisecond) {
		text, err := a.text()
		if err != nil {
			return nil, err
		}
		_, left = node.Left(a.before, text)
		left = slices.DeleteFunc(left, func(line string) bool {
			// A device that has its end in the pod cannot come back.
			return t.ends && strings.HasPrefix(line, "missing: ") && strings.Contains(line, ofPod(" devN ", a.last))
		})
		if len(left) == 0 || time.Since(began) > 10*time.Second {
			return left, nil
		}
	}
}

// hold starts a process in a space, whose namespaces it shows under /proc.
func (a *arena) hold(s *node.Space) (pid int, err error) {
	cmd := exec.Command("sleep", "infinity")
	if err := s.Start(cmd); err != nil {
		return 0, err
	}
	a.holders = append(a.holders, cmd)
	return cmd.Process.Pid, nil
}
