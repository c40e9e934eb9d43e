package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"sync"
	"syscall"
	"time"

	"github.com/containernetworking/cni/libcni"

	"github.com/catena-cni/catena/integration/node"
)

// contender is who does the same work as the others, on a node of its own.
type contender struct {
	name  string
	node  *node.Node
	call  func(verb string, a node.Attachment) error
	used  func() time.Duration // of processors, for its calls so far
	pods  []*node.Pod
	ports int // host ports given out so far
}

// cost is what a call takes: the time that passes, and that of processors, by the processes that are run for it.
type cost struct{ wall, cpu time.Duration }

// plugins is the contender that runs those of a folder.
func plugins(name, folder string) (*contender, error) {
	n, err := node.New()
	if err != nil {
		return nil, err
	}
	cni := libcni.NewCNIConfig([]string{folder}, nil)
	ctx := context.Background()
	return &contender{name: name, node: n, used: children, call: func(verb string, a node.Attachment) error {
		switch verb {
		case "ADD":
			_, err := cni.AddNetworkList(ctx, a.List, a.Conf())
			return err
		case "CHECK":
			return cni.CheckNetworkList(ctx, a.List, a.Conf())
		case "DEL":
			return cni.DelNetworkList(ctx, a.List, a.Conf())
		default: // VERSION
			_, err := cni.GetVersionInfo(ctx, a.List.Plugins[0].Network.Type)
			return err
		}
	}}, nil
}

// together makes a call for each of the attachments at the same time, and gives what one of them costs on average.
// Threads enter the node before the time counts.
func (c *contender) together(verb string, attachments []node.Attachment) (cost, error) {
	var ready, done sync.WaitGroup
	gate := make(chan struct{})
	errs := make([]error, len(attachments))
	for i, a := range attachments {
		ready.Add(1)
		done.Add(1)
		go func() {
			inside := false
			err := c.node.Do(func() error {
				inside = true
				ready.Done()
				<-gate
				errs[i] = c.call(verb, a)
				done.Done()
				return nil
			})
			if !inside {
				errs[i] = err
				ready.Done()
				done.Done()
			}
		}()
	}
	ready.Wait()
	cpu, began := c.used(), time.Now()
	close(gate)
	done.Wait()
	n := time.Duration(len(attachments))
	spent := cost{wall: time.Since(began) / n, cpu: (c.used() - cpu) / n}
	for _, err := range errs {
		if err != nil {
			return spent, fmt.Errorf("%s of %s: %w", verb, c.name, err)
		}
	}
	return spent, nil
}

// children is the time of processors that was used by processes which this one has run and waited for.
func children() time.Duration { return used(syscall.RUSAGE_CHILDREN) }

func used(who int) time.Duration {
	var usage syscall.Rusage
	_ = syscall.Getrusage(who, &usage)
	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
}

// attachments makes pods, which are not attached yet.
func (c *contender) attachments(n int, list *libcni.NetworkConfigList, ports int) ([]node.Attachment, error) {
	var out []node.Attachment
	for range n {
		pod, err := c.node.Pod(fmt.Sprintf("pod-%d", len(c.pods)))
		if err != nil {
			return nil, err
		}
		c.pods = append(c.pods, pod)
		// Who executes a program pays for each file that is open.
		if err := pod.Close(); err != nil {
			return nil, err
		}
		a := node.Attachment{Pod: pod, List: list, IfName: "eth0"}
		for range ports {
			// Each pod's are its own: those of pods that stay are in use.
			port := 1024 + c.ports
			c.ports++
			a.Ports = append(a.Ports, node.Port{HostPort: port, ContainerPort: port, Protocol: "tcp"})
		}
		out = append(out, a)
	}
	return out, nil
}

// close takes the pods away, attached or not, and then the node.
func (c *contender) close() {
	for _, pod := range c.pods {
		_ = pod.Remove()
	}
	_ = c.node.Close()
}

// closeAll closes contenders, and waits for what the kernel has to do after that.
func closeAll(contenders []*contender) {
	for _, c := range contenders {
		c.close()
	}
	settle()
}

// settle waits until the kernel has taken namespaces apart that are no more used, which it does in its own time and
// while it holds the locks that attaching needs.
func settle() {
	left := func() (n int) {
		text, err := os.ReadFile("/proc/slabinfo")
		if err != nil {
			return 0
		}
		if at := bytes.Index(text, []byte("\nnet_namespace ")); at >= 0 {
			fmt.Sscanf(string(text[at+1:]), "net_namespace %d", &n)
		}
		return n
	}
	for last, still := left(), 0; still < 10; time.Sleep(100 * time.Millisecond) {
		if now := left(); now < last {
			last, still = now, 0
		} else {
			still++
		}
	}
}
