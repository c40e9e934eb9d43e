package main

import (
	"errors"
	"fmt"
	"net"
	"path"
	"strings"

	"github.com/catena-cni/catena/internal/fact"
	"github.com/catena-cni/catena/internal/fact/device"
	"github.com/catena-cni/catena/internal/ipam/builtin"
	"github.com/catena-cni/catena/internal/kernel"
	"github.com/catena-cni/catena/internal/plugin"
)

// Conf is host-device's own part of the network configuration.
type Conf struct {
	Device        string        `json:"device" doc:"name of the device on the host, or another name that it goes by"`
	HWAddr        string        `json:"hwaddr" doc:"the device by its hardware address, where no device is given; of VLANs, bridges and bonds that share it the device below is meant"`
	KernelPath    string        `json:"kernelpath" doc:"the device by its folder below /sys/devices, where neither of these is given"`
	PCIBusID      string        `json:"pciBusID" doc:"the device by its PCI address, as in 0000:03:00.0, where none of these is given"`
	DPDKMode      bool          `json:"dpdkMode" doc:"is found out, whatever is given: where a driver in user space (vfio-pci, uio_pci_generic, igb_uio) has the PCI device, nothing is moved, and IPAM's addresses are only reported"`
	DAD           string        `json:"dad" enum:"wait,optimistic,off" default:"wait" doc:"look for duplicates of the pod's IPv6 addresses before they are used (wait), meanwhile (optimistic), or not (off)"`
	RuntimeConfig RuntimeConfig `json:"runtimeConfig" lint:"-" doc:"values of the capabilities; the runtime adds it"`

	selected device.Selector
	// userspace says that a driver in user space has the device; unusable why
	// the device's driver cannot be told.
	userspace bool
	unusable  error
}

// RuntimeConfig is the values of the capabilities that host-device looks at.
type RuntimeConfig struct {
	DeviceID string `json:"deviceID" doc:"capability deviceID: a PCI or auxiliary device, instead of pciBusID"`
}

var hostDevice = plugin.Plugin[Conf]{
	Name: "host-device", Builtin: builtin.Of, MayChain: true,
	Validate: validate, Complete: complete, Want: want, Ready: ready,
	Traces: func(t *plugin.Traces, k *kernel.Kernel, _ Conf) {
		t.Found(device.Attachments(k))
		t.Gone(device.Abandoned())
	},
}

func validate(call *plugin.Call, c *Conf) error {
	s := device.Selector{Name: c.Device, Path: c.KernelPath, PCI: c.PCIBusID, DeviceID: c.RuntimeConfig.DeviceID}
	switch {
	case !isLinkName(c.Device):
		return fmt.Errorf("device is %q, which is no interface name: one has no '/', ':' and blanks", c.Device)
	case c.KernelPath != "" && !device.ValidPath(c.KernelPath):
		return fmt.Errorf("kernelpath is %q: a folder below /sys/devices is wanted, without \"..\"", c.KernelPath)
	case c.PCIBusID != "" && !device.ValidID(c.PCIBusID):
		return fmt.Errorf("pciBusID is %q: a PCI address is wanted, as in 0000:03:00.0", c.PCIBusID)
	case s.DeviceID != "" && !device.ValidID(s.DeviceID):
		return fmt.Errorf("deviceID is %q, which is no name of a device", s.DeviceID)
	case c.DPDKMode && c.PCIBusID == "" && s.DeviceID == "":
		return errors.New("dpdkMode is for PCI devices: give pciBusID or the capability deviceID")
	}
	if c.KernelPath != "" {
		s.Path = path.Clean(c.KernelPath)
	}
	if c.HWAddr != "" {
		mac, err := net.ParseMAC(c.HWAddr)
		if err != nil {
			return fmt.Errorf("hwaddr is %q: a hardware address is wanted, as in 02:00:5e:10:00:01", c.HWAddr)
		}
		s.MAC = mac
	}
	c.selected = s
	c.userspace, c.unusable = s.Userspace()
	call.NoNetdev = c.userspace
	return nil
}

// isLinkName holds a name against the kernel's rule for names and alternative
// names of interfaces.
func isLinkName(n string) bool {
	const max = 127 // ALTIFNAMSIZ less its final zero byte
	return n != "." && n != ".." && len(n) <= max && !strings.ContainsAny(n, "/: \t\n\v\f\r\x00")
}

func complete(call plugin.Call, c Conf) error {
	if c.selected.Empty() {
		return errors.New("no device is given: one of device, hwaddr, kernelpath, pciBusID and the capability deviceID is wanted")
	}
	if c.unusable != nil {
		return c.unusable
	}
	call.AddInterface()
	return nil
}

func ready(k *kernel.Kernel, c Conf) error {
	if c.userspace {
		return nil
	}
	return c.selected.Ready(k)
}

// want lists what holds while a pod is attached. A device in user space's hands
// is nothing that the kernel could configure. What a former configuration moved
// DEL finds all the same.
func want(call plugin.Call, c Conf) fact.Plan {
	p := fact.Plan{device.Device{Owner: call.Attachment, Select: c.selected, Userspace: c.userspace, MAC: reported(call)}}
	if c.userspace {
		return p
	}
	return append(p, plugin.Interface{Name: call.IfName, Aliased: true, Detect: plugin.Detection(c.DAD)}.Facts(call)...)
}

// reported is the hardware address that the result says the interface has, which
// a plugin after this one may have changed. On ADD it says none yet.
func reported(call plugin.Call) net.HardwareAddr {
	if i := call.Interface(); i != nil {
		mac, _ := net.ParseMAC(i.Mac)
		return mac
	}
	return nil
}
