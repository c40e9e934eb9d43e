package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"

	"github.com/catena-cni/catena/internal/ipam"
	"github.com/catena-cni/catena/internal/plugin"
	"github.com/catena-cni/catena/internal/plugin/delegated"
	"github.com/catena-cni/catena/internal/state"
)

// Conf is flannel's own part of the network configuration.
type Conf struct {
	CNIVersion string         `json:"cniVersion" doc:"version of the CNI specification that the configuration is written for"`
	SubnetFile string         `json:"subnetFile" default:"/run/flannel/subnet.env" doc:"the file that flanneld writes its lease to: IPv4, IPv6 or both. While it is not there, STATUS and ADD say so"`
	DataDir    string         `json:"dataDir" default:"/var/lib/cni/flannel" doc:"where is kept what each pod was attached with"`
	Delegate   delegated.Conf `json:"delegate" doc:"the plugin that does the work, and its keys, less name and ipam; {\"type\": \"bridge\", \"isGateway\": true} where it is not given"`
	IPAM       delegated.Conf `json:"ipam" doc:"its ipam; {\"type\": \"host-local\"} where it is not given, whose ranges are the node's subnets; routes stand before those to the cluster"`
}

// validate refuses what cannot be composed, before anything is touched.
func validate(_ *plugin.Call, c *Conf) error {
	var errs []error
	for key, path := range map[string]string{"subnetFile": c.SubnetFile, "dataDir": c.DataDir} {
		if !filepath.IsAbs(path) {
			errs = append(errs, fmt.Errorf("%s is %q, and must begin with a slash", key, path))
		}
	}
	for _, key := range []string{"name", "ipam"} {
		if c.Delegate.Has(key) {
			errs = append(errs, fmt.Errorf("delegate.%s is not to be given: %s stands beside delegate", key, key))
		}
	}
	switch kind, err := c.Delegate.Type(); {
	case err != nil:
		errs = append(errs, fmt.Errorf("delegate.%w", err))
	case kind == title:
		errs = append(errs, errors.New("delegate.type is flannel, which does no work itself: name the plugin that is to do it"))
	}
	_, err := c.routes()
	return errors.Join(append(errs, err)...)
}

// routes are those of the configuration's ipam, as they were written.
func (c Conf) routes() (written []json.RawMessage, err error) {
	var routes []ipam.Route
	text := c.IPAM.Get("routes")
	if text == nil {
		return nil, nil
	}
	if json.Unmarshal(text, &written) != nil || json.Unmarshal(text, &routes) != nil {
		return nil, fmt.Errorf(`ipam.routes is %s, and is to be a list of {"dst": "10.0.0.0/8", "gw": "10.1.2.1"}`, text)
	}
	_, err = ipam.ReadRoutes(routes)
	return written, err
}

// folder is where is kept what attachments were made with, for a DEL with a
// broken configuration too.
func folder(c Conf) state.Folder {
	if !filepath.IsAbs(c.DataDir) {
		return "/var/lib/cni/flannel"
	}
	return state.Folder(c.DataDir)
}
