package device

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/catena-cni/catena/internal/cni"
	"github.com/catena-cni/catena/internal/kernel"
)

// Where sysfs has the devices, and the buses' links to them.
const (
	devices   = "/sys/devices"
	pci       = "/sys/bus/pci/devices"
	auxiliary = "/sys/bus/auxiliary/devices"
)

// ValidPath holds a path against what it can be: a folder below /sys/devices,
// written without a way up.
func ValidPath(path string) bool {
	return strings.HasPrefix(path, devices+"/") && !slices.Contains(strings.Split(path, "/"), "..") && !strings.Contains(path, "\x00")
}

// ValidID holds a device's name on its bus against what it can be: one name.
func ValidID(id string) bool {
	return id != "" && !strings.HasPrefix(id, ".") && !strings.ContainsAny(id, "/\x00")
}

// below reports whether a folder is in, or is, another one.
func below(folder, top string) bool {
	top, err := filepath.EvalSymlinks(top)
	return err == nil && folder != "" && (folder == top || strings.HasPrefix(folder, top+"/"))
}

// folder is that of the selected device in sysfs.
func (s Selector) folder() (string, error) {
	if s.Path != "" {
		return s.Path, nil
	}
	folder, _, err := s.bus()
	return folder, err
}

// bus finds the folder of a device that is named by its bus.
func (s Selector) bus() (folder string, isPCI bool, err error) {
	id := s.DeviceID
	if id == "" {
		id = s.PCI
	}
	if !ValidID(id) {
		return "", false, fmt.Errorf("%q is no name of a device", id)
	}
	folder = filepath.Join(pci, strings.ToLower(id))
	if _, err := os.Stat(folder); err == nil {
		return folder, true, nil
	}
	if s.DeviceID == "" {
		return "", false, fmt.Errorf("there is no PCI device %s: %w", id, fs.ErrNotExist)
	}
	folder = filepath.Join(auxiliary, id)
	if _, err := os.Stat(folder); err == nil {
		return folder, false, nil
	}
	return "", false, fmt.Errorf("device %s is neither on the PCI nor on the auxiliary bus: %w", id, fs.ErrNotExist)
}

// Userspace reports whether a driver in user space (DPDK) has the PCI device
// that is named, also beside other selectors.
func (s Selector) Userspace() (bool, error) {
	if s.DeviceID == "" && s.PCI == "" {
		return false, nil
	}
	folder, isPCI, err := s.bus()
	if err == nil && isPCI {
		var driver string
		if driver, err = os.Readlink(filepath.Join(folder, "driver")); err == nil {
			return inUserspace(driver), nil
		}
		err = fmt.Errorf("PCI device %s has no driver: %w", filepath.Base(folder), fs.ErrNotExist)
	}
	if s.Name != "" || s.MAC != nil || s.Path != "" {
		return false, nil // another selector counts
	}
	return false, err
}

// inUserspace reports whether the driver that a link in sysfs leads to only
// hands the device on to programs.
func inUserspace(driver string) bool {
	return slices.Contains([]string{"vfio-pci", "uio_pci_generic", "igb_uio"}, filepath.Base(driver))
}

// linkIn finds the link of a device by its folder. That of a virtio device lies
// one folder deeper.
func linkIn(k *kernel.Kernel, folder string) (*kernel.Link, error) {
	real, err := filepath.EvalSymlinks(folder)
	if err != nil {
		return nil, fmt.Errorf("device %s: %w", folder, err)
	}
	if !below(real, devices) {
		return nil, fmt.Errorf("device %s is %s, which is not below %s", folder, real, devices)
	}
	found := slices.DeleteFunc(slices.Clone(linksOf(real)), func(n string) bool { return elsewhere(k, n) })
	if len(found) == 0 {
		// /sys may be another namespace's, and show that one's links.
		if root, done, err := kernel.OwnSysfs(); err == nil {
			found = linksOf(filepath.Join(root, strings.TrimPrefix(real, "/sys")))
			done()
		}
	}
	switch len(found) {
	case 0:
		return nil, fmt.Errorf("device %s has no network interface on the host: %w", folder, fs.ErrNotExist)
	case 1:
		return k.Link(kernel.Host, found[0])
	}
	err = fmt.Errorf("device %s has the interfaces %s", folder, strings.Join(found, ", "))
	return nil, cni.Hint(err, "name the one that is meant with \"device\"")
}

// linksOf lists the links of a device by name.
func linksOf(folder string) []string {
	found := netIn(filepath.Join(folder, "net"))
	if len(found) > 0 {
		return found
	}
	deeper, _ := filepath.Glob(filepath.Join(folder, "virtio*", "net"))
	for _, d := range deeper {
		found = append(found, netIn(d)...)
	}
	return found
}

// elsewhere reports whether a link that /sys shows is another namespace's.
func elsewhere(k *kernel.Kernel, link string) bool {
	l, err := k.Link(kernel.Host, link)
	return err == nil && kernel.ForeignSysfs(l)
}

// netIn lists the links of a device by name, less those that only stand for what is
// behind a virtual function (representors).
func netIn(folder string) (out []string) {
	entries, _ := os.ReadDir(folder)
	for _, e := range entries {
		port, _ := os.ReadFile(filepath.Join(folder, e.Name(), "phys_port_name"))
		if p := string(port); strings.HasPrefix(p, "pf") && (strings.Contains(p, "vf") || strings.Contains(p, "sf")) {
			continue
		}
		out = append(out, e.Name())
	}
	slices.Sort(out)
	return out
}
