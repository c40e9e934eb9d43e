package firewalld

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/godbus/dbus/v5"

	"github.com/catena-cni/catena/internal/cni"
)

// patience bounds the wait for one answer. A firewalld that loads its
// configuration answers when it is through.
const patience = 30 * time.Second

// systemBus is the path of the system bus's socket (D-Bus Specification,
// "Well-known Message Bus Instances"). Addresses of other kinds are passed over:
// one of them would have a program executed.
func systemBus() string {
	path, ok := strings.CutPrefix(os.Getenv("DBUS_SYSTEM_BUS_ADDRESS"), "unix:path=")
	if path, _, _ = strings.Cut(path, ","); ok && strings.HasPrefix(path, "/") {
		return path
	}
	return "/run/dbus/system_bus_socket"
}

// daemon is a connection on which firewalld is called.
type daemon struct{ *dbus.Conn }

const notThere = `start dbus and firewalld ("systemctl start firewalld"), or leave "backend": "firewalld" and "firewalldZone" out of firewall's configuration`

// withDaemon does something over a connection of its own. A bus that says nothing
// is given up.
func withDaemon(do func(daemon) error) error {
	socket, err := net.DialUnix("unix", nil, &net.UnixAddr{Name: systemBus(), Net: "unix"})
	var bus *dbus.Conn
	if err == nil {
		defer socket.Close()
		_ = socket.SetDeadline(time.Now().Add(patience))
		bus, err = dbus.ConnectUnix(socket)
	}
	if err != nil {
		return cni.Hint(fmt.Errorf("firewalld: D-Bus at %s: %w", systemBus(), err), notThere)
	}
	defer bus.Close()
	_ = socket.SetDeadline(time.Time{})
	return do(daemon{bus})
}

// nobodyThere reports whether nobody has the name that was called.
func nobodyThere(err error) bool {
	var e dbus.Error
	return errors.As(err, &e) && (e.Name == "org.freedesktop.DBus.Error.ServiceUnknown" || e.Name == "org.freedesktop.DBus.Error.NameHasNoOwner")
}

// absent reports whether there is no firewalld that could have a source.
func absent(err error) bool {
	return nobodyThere(err) || errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ECONNREFUSED)
}

// says looks for one of firewalld's own error codes, which messages begin with.
func says(err error, codes ...string) bool {
	var e dbus.Error
	return errors.As(err, &e) && slices.ContainsFunc(codes, func(code string) bool { return strings.HasPrefix(e.Error(), code) })
}

// call calls a method of firewalld's zones (firewalld.dbus(5)) and reads the
// answer into what is given for it. firewalld is not started for it.
func (d daemon) call(answer any, method, zone string, args ...any) error {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	call := d.Object("org.fedoraproject.FirewallD1", "/org/fedoraproject/FirewallD1").
		CallWithContext(ctx, "org.fedoraproject.FirewallD1.zone."+method, dbus.FlagNoAutoStart, append([]any{zone}, args...)...)
	err := call.Err
	if err == nil && answer != nil {
		err = call.Store(answer)
	}
	switch {
	case err == nil:
		return nil
	case nobodyThere(err):
		return cni.Hint(fmt.Errorf("firewalld does not run: %w", err), notThere)
	case errors.Is(err, context.DeadlineExceeded):
		return fmt.Errorf("firewalld: %s: no answer in %v: %w", method, patience, os.ErrDeadlineExceeded)
	case says(err, "INVALID_ZONE"):
		err = cni.Errorf(cni.CodeConfig, "firewalld has no zone %q: %w", zone, err)
		return cni.Hint(err, `"firewall-cmd --get-zones" lists the zones that "firewalldZone" can name`)
	case says(err, "ZONE_CONFLICT"):
		return cni.Hint(fmt.Errorf("firewalld: %w", err), `"firewall-cmd --get-active-zones" shows which zone has the address: name that one in "firewalldZone", or take the address out of it`)
	}
	return fmt.Errorf("firewalld: %s: %w", method, err)
}

func (d daemon) bind(zone, source string) error {
	err := d.call(nil, "addSource", zone, source)
	if says(err, "ZONE_ALREADY_SET") {
		return nil
	}
	return err
}

// unbind succeeds where the zone does not have the source: where it is another
// zone's it is not ours.
func (d daemon) unbind(zone, source string) error {
	err := d.call(nil, "removeSource", zone, source)
	if absent(err) || says(err, "UNKNOWN_SOURCE", "ZONE_CONFLICT", "INVALID_ZONE") {
		return nil
	}
	return err
}
