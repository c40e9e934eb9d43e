// Package firewalld binds addresses of pods to a zone of firewalld, over D-Bus.
// A binding is of the running firewalld alone: it ends when firewalld is started
// again or loads its configuration, and is then made again by the next call.
package firewalld

import (
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"slices"
	"strings"
	"syscall"

	"github.com/catena-cni/catena/internal/cni"
	"github.com/catena-cni/catena/internal/dbus"
	"github.com/catena-cni/catena/internal/kernel"
	"github.com/catena-cni/catena/internal/name"
)

// Source is addresses of a pod that are bound to a zone. An address may be
// another attachment's too; then it stays bound until both are gone.
type Source struct {
	Owner name.Attachment
	Zone  string
	Pods  []netip.Addr
}

func (s Source) String() string {
	return fmt.Sprintf("firewalld source %v in zone %s", s.Pods, s.Zone)
}

// Idle says that no address is to be bound.
func (s Source) Idle() bool { return len(s.Pods) == 0 }

// daemon is a connection on which firewalld is called.
type daemon struct{ *dbus.Conn }

func dial() (daemon, error) {
	c, err := dbus.Dial(dbus.SystemBus())
	if err != nil {
		return daemon{}, cni.Hint(fmt.Errorf("firewalld: %w", err), notThere)
	}
	return daemon{c}, nil
}

const notThere = `start dbus and firewalld ("systemctl start firewalld"), or leave "backend": "firewalld" and "firewalldZone" out of firewall's configuration`

// gone reports whether there is no firewalld that could have a source.
func gone(err error) bool {
	return dbus.NobodyThere(err) || errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ECONNREFUSED)
}

// call calls a method of firewalld's zones. (firewalld.dbus(5))
func (d daemon) call(method string, args ...string) (dbus.Answer, error) {
	a, err := d.Call(dbus.Method{
		Destination: "org.fedoraproject.FirewallD1", Path: "/org/fedoraproject/FirewallD1",
		Interface: "org.fedoraproject.FirewallD1.zone", Name: method,
	}, args...)
	switch {
	case dbus.NobodyThere(err):
		err = cni.Hint(fmt.Errorf("firewalld does not run: %w", err), notThere)
	case says(err, "INVALID_ZONE"):
		err = cni.Errorf(cni.CodeConfig, "firewalld has no zone %q: %w", args[0], err)
		err = cni.Hint(err, `"firewall-cmd --get-zones" lists the zones that "firewalldZone" can name`)
	case says(err, "ZONE_CONFLICT"):
		err = cni.Hint(fmt.Errorf("firewalld: %w", err), `"firewall-cmd --get-active-zones" shows which zone has the address: name that one in "firewalldZone", or take the address out of it`)
	case err != nil:
		err = fmt.Errorf("firewalld: %s: %w", method, err)
	}
	return a, err
}

// says looks for one of firewalld's own error codes, which messages begin with.
func says(err error, code string) bool {
	var e *dbus.Error
	return errors.As(err, &e) && strings.HasPrefix(e.Message, code)
}

func (d daemon) bind(zone, source string) error {
	_, err := d.call("addSource", zone, source)
	if says(err, "ZONE_ALREADY_SET") {
		return nil
	}
	return err
}

// unbind succeeds where the zone does not have the source: where it is another
// zone's it is not ours.
func (d daemon) unbind(zone, source string) error {
	_, err := d.call("removeSource", zone, source)
	for _, code := range []string{"UNKNOWN_SOURCE", "ZONE_CONFLICT", "INVALID_ZONE"} {
		if says(err, code) {
			return nil
		}
	}
	if gone(err) {
		return nil
	}
	return err
}

// Add binds the addresses.
func (s Source) Add(k *kernel.Kernel) error {
	if s.Idle() {
		return nil
	}
	d, err := dial()
	if err != nil {
		return err
	}
	defer d.Close()
	if err := d.heal(s.Zone); err != nil {
		return err
	}
	r := s.record(k)
	if err := r.claim(d); err != nil {
		return err
	}
	for _, source := range r.Sources {
		err := r.hold(source)
		if err == nil {
			err = d.bind(r.Zone, source)
		}
		if err != nil {
			return errors.Join(err, r.withdraw(d))
		}
	}
	return nil
}

// Del ends the bindings that no other attachment has. A firewalld that does not
// run has none.
func (s Source) Del(*kernel.Kernel) error {
	r, err := read(s.Owner)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	d, err := dial()
	if gone(err) {
		return r.forget()
	}
	if err != nil {
		return err
	}
	defer d.Close()
	return errors.Join(r.withdraw(d), d.heal(r.Zone))
}

// Check asks firewalld for each of the addresses.
func (s Source) Check(*kernel.Kernel) error {
	if s.Idle() {
		return nil
	}
	d, err := dial()
	if err != nil {
		return err
	}
	defer d.Close()
	var errs []error
	for _, a := range s.Pods {
		errs = append(errs, d.check(s.Zone, source(a)))
	}
	return errors.Join(errs...)
}

func (d daemon) check(zone, source string) error {
	answer, err := d.call("querySource", zone, source)
	if err != nil {
		return err
	}
	bound, err := answer.Bool()
	if err == nil && !bound {
		err = fmt.Errorf("%s is not in the zone %s of firewalld: %w", source, zone, fs.ErrNotExist)
	}
	return err
}

// heal binds again what a reload of firewalld has lost of attachments that are
// alive.
func (d daemon) heal(zone string) error {
	live, err := alive(zone)
	if err != nil || len(live) == 0 {
		return err
	}
	answer, err := d.call("getSources", zone)
	if gone(err) {
		return nil
	}
	if err != nil {
		return err
	}
	have, err := answer.Strings()
	if err != nil {
		return err
	}
	errs := []error{}
	for _, r := range live {
		for _, source := range r.Sources {
			if !slices.Contains(have, source) {
				errs = append(errs, d.bind(zone, source))
			}
		}
	}
	return errors.Join(errs...)
}

// Ready looks whether firewalld runs and has the zone.
func Ready(zone string) error {
	d, err := dial()
	if err != nil {
		return err
	}
	defer d.Close()
	_, err = d.call("getSources", zone)
	return err
}

// Heal is heal for GC, and says nothing where there is no firewalld.
func Heal(zone string) error {
	live, err := alive(zone)
	if err != nil || len(live) == 0 {
		return err
	}
	d, err := dial()
	if gone(err) {
		return nil
	}
	if err != nil {
		return err
	}
	defer d.Close()
	return d.heal(zone)
}
