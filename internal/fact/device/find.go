package device

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"slices"
	"strings"

	"github.com/catena-cni/catena/internal/cni"
	"github.com/catena-cni/catena/internal/kernel"
)

// Selector says which of the host's devices is meant. Of several that are given
// the first counts.
type Selector struct {
	Name string
	MAC  net.HardwareAddr
	// Path is a folder below /sys/devices.
	Path string
	// DeviceID names a device on the PCI or the auxiliary bus. It comes from
	// the runtime and stands in the place of PCI.
	DeviceID string
	PCI      string
}

func (s Selector) String() string {
	switch {
	case s.Name != "":
		return "device " + s.Name
	case s.MAC != nil:
		return "device with hwaddr " + s.MAC.String()
	case s.Path != "":
		return "device at " + s.Path
	case s.DeviceID != "":
		return "device " + s.DeviceID
	case s.PCI != "":
		return "PCI device " + s.PCI
	}
	return "device"
}

// Empty reports whether nothing is selected.
func (s Selector) Empty() bool { return s.String() == Selector{}.String() }

// find finds the device's link on the host. Where it is in a pod that is gone
// it is moved back first.
func (s Selector) find(k *kernel.Kernel) (*kernel.Link, error) {
	l, err := s.look(k)
	if !errors.Is(err, fs.ErrNotExist) {
		return l, err
	}
	list, _, _ := records.All()
	i := slices.IndexFunc(list, s.means)
	if i < 0 {
		return nil, err
	}
	r := list[i]
	if !r.Abandoned() {
		return nil, r.busy()
	}
	if err := r.returnToHost(k); err != nil {
		return nil, err
	}
	return s.look(k)
}

// Ready looks whether the device is on the host, or in a pod, from which it
// comes back.
func (s Selector) Ready(k *kernel.Kernel) error {
	if s.Empty() {
		return nil // the runtime will say
	}
	_, err := s.look(k)
	if errors.Is(err, fs.ErrNotExist) {
		if list, _, _ := records.All(); slices.ContainsFunc(list, s.means) {
			return nil
		}
	}
	return err
}

// means reports whether a record is of the selected device.
func (s Selector) means(r record) bool {
	switch {
	case s.Name != "":
		return r.Name == s.Name
	case s.MAC != nil:
		return r.MAC == s.MAC.String()
	}
	folder, err := s.folder()
	return err == nil && below(r.Hardware, folder)
}

// look finds the link among those that are on the host now.
func (s Selector) look(k *kernel.Kernel) (*kernel.Link, error) {
	switch {
	case s.Name != "":
		return k.Link(kernel.Host, s.Name)
	case s.MAC != nil:
		links, err := k.Links(kernel.Host)
		if err != nil {
			return nil, err
		}
		return byMAC(links, s.MAC)
	}
	folder, err := s.folder()
	if err != nil {
		return nil, err
	}
	return linkIn(k, folder)
}

// byMAC picks the one link that has the address. VLANs, bridges and bonds have
// that of a device below them, so of several that is meant which has it from
// its maker, is hardware, or stands on none of the others.
func byMAC(links []*kernel.Link, mac net.HardwareAddr) (*kernel.Link, error) {
	having := slices.DeleteFunc(slices.Clone(links), func(l *kernel.Link) bool { return l.MAC.String() != mac.String() })
	if len(having) == 0 {
		return nil, fmt.Errorf("no link of the host has hwaddr %v: %w", mac, fs.ErrNotExist)
	}
	for _, worse := range []func(*kernel.Link) bool{
		func(l *kernel.Link) bool { return l.PermMAC.String() != mac.String() },
		func(l *kernel.Link) bool { return l.Kind != "" },
		func(l *kernel.Link) bool { return standsOn(l, having) },
	} {
		if some := slices.DeleteFunc(slices.Clone(having), worse); len(some) > 0 {
			having = some
		}
	}
	if len(having) > 1 {
		err := fmt.Errorf("hwaddr %v is that of %s", mac, names(having))
		return nil, cni.Hint(err, "name the one that is meant with \"device\"")
	}
	return having[0], nil
}

// standsOn reports whether a link lies on one of the others, or has it as a
// port. A veth's other end is nothing that it stands on.
func standsOn(l *kernel.Link, others []*kernel.Link) bool {
	return slices.ContainsFunc(others, func(o *kernel.Link) bool {
		return o.Index != l.Index && (o.Master == l.Index || l.Parent == o.Index && l.Kind != "veth")
	})
}

func names(links []*kernel.Link) string {
	var out []string
	for _, l := range links {
		out = append(out, l.Name+kindText(l))
	}
	return strings.Join(out, ", ")
}
