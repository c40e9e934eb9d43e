package plugin

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"os"

	"github.com/catena-cni/catena/internal/cni"
	"github.com/catena-cni/catena/internal/kernel"
)

func (p Plugin[C]) del(r *cni.Request) error {
	// What is wrong with the configuration is not what DEL is about.
	call, c, _ := p.Read(r)
	k, err := p.openForDel(r.Netns)
	if err != nil {
		return err
	}
	defer k.Close()
	call.evidence(r).Verify(k)
	err = p.want(call, c).Del(k)
	_, derr := p.delegate(r, cni.Del)
	return errors.Join(err, derr)
}

// openForDel takes a pod as gone that has no namespace which could be opened. Where
// it is the machine that cannot open or look at anything now, the next DEL can.
func (p Plugin[C]) openForDel(netns string) (*kernel.Kernel, error) {
	if p.HostOnly {
		return kernel.OpenHost(netns), nil
	}
	k, err := kernel.Open(netns)
	if kernel.NoNetns(err) {
		fmt.Fprintf(os.Stderr, "catena %s: %s: it is taken as gone\n", p.Name, cni.AsError(err).Msg)
		return kernel.OpenHost(""), nil
	}
	return k, err
}

func (p Plugin[C]) check(r *cni.Request) error {
	call, c, err := p.Read(r)
	if err != nil {
		return err
	}
	if call.Prev == nil && !p.AllowNoName {
		return cni.ErrNoPrevResult
	}
	k, err := p.open(r.Netns)
	if err != nil {
		return err
	}
	defer k.Close()
	err = p.want(call, c).Check(k)
	if err == nil {
		err = p.asReported(k, call)
	}
	_, derr := p.delegate(r, cni.Check)
	return errors.Join(cni.WithCode(cni.CodeDrift, err), derr)
}

// asReported compares the hardware addresses of the result's interfaces, as they
// were when the chain had ended. That of a bridge is its plugin's matter, and one
// that is missing a fact's.
func (p Plugin[C]) asReported(k *kernel.Kernel, call Call) error {
	if !p.makesLink() || call.NoNetdev {
		return nil
	}
	var errs []error
	for _, i := range call.Result.Interfaces {
		side := kernel.Host
		if call.Own(i) {
			side = kernel.Pod
		}
		want, err := net.ParseMAC(i.Mac)
		if err != nil || side == kernel.Host && i.Sandbox != "" {
			continue
		}
		l, err := k.Link(side, i.Name)
		if err == nil && l.Kind != "bridge" && !bytes.Equal(l.MAC, want) {
			errs = append(errs, fmt.Errorf("%v's %s has the hardware address %v, and the result says %v", side, i.Name, l.MAC, want))
		}
	}
	return errors.Join(errs...)
}

func (p Plugin[C]) status(r *cni.Request) error {
	_, c, err := p.Read(r)
	if err != nil {
		return err
	}
	k, err := kernel.Open("")
	if err != nil {
		return err
	}
	defer k.Close()
	if p.Ready != nil {
		err = p.Ready(k, c)
	}
	_, derr := p.delegate(r, cni.Status)
	return cni.WithCode(cni.CodeNotReady, errors.Join(err, derr))
}
