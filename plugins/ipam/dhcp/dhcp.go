package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/catena-cni/catena/internal/cni"
	"github.com/catena-cni/catena/internal/ipam"
	"github.com/catena-cni/catena/internal/ipam/dhcp/daemon"
	"github.com/catena-cni/catena/internal/ipam/dhcp/rpc"
	"github.com/catena-cni/catena/internal/state/name"
)

var dhcp = ipam.Plugin{
	Name: "dhcp",
	New:  func() ipam.Giver { return new(Conf) },
}

// Conf is the configuration that the daemon reads too.
type Conf daemon.Conf

// Validate is the daemon's.
func (c *Conf) Validate(call ipam.Call) error { return (*daemon.Conf)(c).Validate(call.Args) }

// Foresee has nothing to tell: what a server will give is not known before it is
// asked.
func (c *Conf) Foresee(ipam.Call) (*cni.Result, error) { return cni.NewResult(), nil }

// How long the daemon has for its answers. A lease may take what the daemon's
// own -resendtimeout allows, and no runtime waits longer than this.
const (
	leaseWait  = 4 * time.Minute
	answerWait = 30 * time.Second
	statusWait = time.Second
)

// Give has the daemon ask for a lease.
func (c *Conf) Give(at ipam.Call) (*cni.Result, error) {
	r := cni.NewResult()
	err := c.call(leaseWait, daemon.MethodAllocate, handover(at), r)
	if err != nil {
		return nil, err
	}
	r.CNIVersion = cni.NewResult().CNIVersion // a daemon leaves it to the plugin
	return r, nil
}

// Free ends the lease. A daemon that is not there gives it back when it starts
// and finds the pod gone, and no pod's end has to wait for it.
func (c *Conf) Free(at ipam.Call) error {
	err := c.call(answerWait, daemon.MethodRelease, handover(at), &struct{}{})
	if errors.Is(err, errNoDaemon) {
		fmt.Fprintf(os.Stderr, "catena dhcp: %v: the lease of %s is given back when the daemon starts\n", err, at.Attachment)
		return nil
	}
	return err
}

// Holds compares the result with what the daemon keeps. One of upstream's has
// no such method, and is asked as upstream's plugin does.
func (c *Conf) Holds(at ipam.Call) error {
	have := cni.NewResult()
	err := c.call(answerWait, daemon.MethodCheck, handover(at), have)
	var answered rpc.Error
	if errors.As(err, &answered) && answered.NoMethod() {
		return c.call(leaseWait, daemon.MethodAllocate, handover(at), have)
	}
	if errors.As(err, &answered) && strings.HasPrefix(string(answered), daemon.NoLease) {
		err = cni.WithCode(cni.CodeDrift, err)
		return cni.Hint(err, "nobody extends the address of the pod: attach it again")
	}
	if err != nil {
		return err
	}
	want := cni.Prefixes(at.IPs())
	for _, p := range cni.Prefixes(have.IPs) {
		if !slices.Contains(want, p) {
			err := cni.Errorf(cni.CodeDrift, "the server has lent %v, which is not in prevResult (%v)", p, want)
			return cni.Hint(err, "the server changed the lease after the pod was attached, and the pod's interface has it: attach the pod again for the runtime to know")
		}
	}
	return nil
}

// Keep hands the list of the attachments that are alive on. A daemon of
// upstream's has no such method, and keeps what it has.
func (c *Conf) Keep(network string, valid []name.Attachment) error {
	alive := make([]cni.ValidAttachment, len(valid))
	for i, v := range valid {
		alive[i] = cni.ValidAttachment{ContainerID: v.ContainerID, IfName: v.IfName}
	}
	return c.collect(map[string]any{"name": network, "cni.dev/valid-attachments": alive})
}

// FreeDead has the daemon look which pods of the network have gone.
func (c *Conf) FreeDead(network string) error { return c.collect(map[string]any{"name": network}) }

func (c *Conf) collect(request map[string]any) error {
	alone, err := json.Marshal(request)
	if err != nil {
		return err
	}
	err = c.call(answerWait, daemon.MethodGC, daemon.Args{StdinData: alone}, &struct{}{})
	var answered rpc.Error
	if errors.Is(err, errNoDaemon) || errors.As(err, &answered) && answered.NoMethod() {
		return nil
	}
	return err
}

// Ready looks whether a daemon answers.
func (c *Conf) Ready(string) error {
	conn, err := c.dial(statusWait)
	if err != nil {
		return err
	}
	defer conn.Close()
	_, err = rpc.Greet(conn)
	return err
}

// handover is the call as the daemon gets it.
func handover(at ipam.Call) daemon.Args {
	netns := at.Netns
	if abs, err := filepath.Abs(netns); err == nil && netns != "" {
		netns = abs // the daemon has a working directory of its own
	}
	return daemon.Args{
		ContainerID: at.ContainerID, Netns: netns, IfName: at.IfName, Args: at.Request.Args, Path: at.Request.Path, StdinData: at.Request.Stdin,
	}
}

func (c *Conf) call(wait time.Duration, method string, args daemon.Args, reply any) error {
	conn, err := c.dial(wait)
	if err != nil {
		return err
	}
	defer conn.Close()
	err = rpc.Call(conn, method, args, reply)
	switch {
	case errors.Is(err, os.ErrDeadlineExceeded):
		return fmt.Errorf("the DHCP daemon at %s has not answered in %v: %w", conn.RemoteAddr(), wait, err)
	case err != nil:
		return fmt.Errorf("the DHCP daemon: %w", err)
	}
	return nil
}

// errNoDaemon is in errors that say that nobody listens.
var errNoDaemon = errors.New("the DHCP daemon is not running")

func (c *Conf) dial(wait time.Duration) (net.Conn, error) {
	conn, err := net.DialTimeout("unix", c.IPAM.SocketPath, statusWait)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ECONNREFUSED) {
		err = fmt.Errorf("%w: %w", errNoDaemon, err)
	}
	if err != nil {
		err = cni.WithCode(cni.CodeNotReady, err)
		return nil, cni.Hint(err, "start it with 'systemctl enable --now cni-dhcp.service' where its units are installed, or by hand: /opt/cni/bin/dhcp daemon")
	}
	return conn, conn.SetDeadline(time.Now().Add(wait))
}
