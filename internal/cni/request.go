// Package cni speaks the CNI protocol: it reads a request from the environment
// and standard input, prints results and errors in the version that was asked
// for, and executes the plugins that another plugin delegates to.
package cni

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"unicode"

	"github.com/containernetworking/cni/pkg/types"
	"github.com/containernetworking/cni/pkg/version"

	"github.com/catena-cni/catena/internal/cni/conf"
	"github.com/catena-cni/catena/internal/state/name"
)

// The verbs of the specification.
const (
	Add     = "ADD"
	Del     = "DEL"
	Check   = "CHECK"
	GC      = "GC"
	Status  = "STATUS"
	Version = "VERSION"
)

// Request is one call of a plugin. Its attachment is zero for GC and STATUS.
type Request struct {
	Verb string
	name.Attachment
	// Netns is the path of the pod's network namespace. It may be empty for DEL.
	Netns string
	// OwnNetns allows that the namespace is the plugin's own (CNI_NETNS_OVERRIDE).
	OwnNetns bool
	// Args is CNI_ARGS as it was given.
	Args string
	// Path lists the folders in which plugins are found.
	Path string
	Conf Conf
	// Stdin is the configuration as it came, for a plugin that is executed, and
	// Doc as it was read.
	Stdin []byte
	Doc   *conf.Document
}

// Conf is what every plugin's configuration may hold.
type Conf struct {
	CNIVersion    string          `json:"cniVersion" doc:"version of the CNI specification that the configuration is written for"`
	Name          string          `json:"name" doc:"name of the network"`
	Type          string          `json:"type" doc:"name of the plugin's program"`
	Capabilities  map[string]bool `json:"capabilities" doc:"capabilities whose values the runtime shall hand over in runtimeConfig"`
	IPAM          IPAM            `json:"ipam" lint:"-" doc:"the plugin that gives addresses, and its configuration"`
	DNS           types.DNS       `json:"dns" doc:"name resolution of the pod, for the result"`
	Strict        bool            `json:"strict" doc:"refuse keys that the plugin does not know, which are else warned of"`
	PrevResult    json.RawMessage `json:"prevResult" doc:"result of the plugin before this one in a chain; the runtime adds it"`
	RuntimeConfig json.RawMessage `json:"runtimeConfig" doc:"values of the capabilities; the runtime adds it"`
	Args          json.RawMessage `json:"args" doc:"optional arguments, of which plugins look at cni"`
	Valid         Valid           `json:"cni.dev/valid-attachments" empty:"counts" doc:"for GC: the attachments that are alive; the runtime adds it"`
	LegacyValid   Valid           `json:"cni.dev/attachments" empty:"counts" doc:"for GC: the older name of cni.dev/valid-attachments"`

	// Keys of a configuration list, which a runtime may leave in a plugin's own.
	CNIVersions  []string        `json:"cniVersions" doc:"versions that the configuration list offers"`
	DisableCheck json.RawMessage `json:"disableCheck" doc:"of a configuration list: the runtime does not call CHECK"`
	DisableGC    json.RawMessage `json:"disableGC" doc:"of a configuration list: the runtime does not call GC"`
}

// Valid lists the attachments that GC must leave alone. A list of none, which
// libcni writes as null, is not the same as no list.
type Valid struct {
	Given bool
	List  []ValidAttachment
}

// ValidAttachment is one of them, whose network is that of the configuration.
type ValidAttachment struct {
	ContainerID string `json:"containerID"`
	IfName      string `json:"ifname"`
}

// UnmarshalJSON is called where the key is there.
func (v *Valid) UnmarshalJSON(data []byte) error {
	v.Given = true
	return json.Unmarshal(data, &v.List)
}

// JSONSchema describes the list.
func (Valid) JSONSchema() map[string]any {
	text := map[string]any{"type": "string"}
	attachment := map[string]any{"type": "object", "properties": map[string]any{"containerID": text, "ifname": text}}
	return map[string]any{"type": []any{"array", "null"}, "items": attachment}
}

// IPAM names the plugin that addresses are delegated to, whose keys the others
// are.
type IPAM struct {
	Type string `json:"type"`
}

// inputMax bounds what is read, from a runtime and of what another plugin prints: a
// configuration is kilobytes, a GC request of the largest node is some hundred.
const inputMax = 64 << 20

// Read makes a Request of the environment and standard input. What it can read
// of a broken one it returns beside the error, so that the error can be printed
// in the version that was asked for and a DEL can do what it can.
func Read(getenv func(string) string, stdin io.Reader) (*Request, error) {
	r := &Request{
		Verb:     getenv("CNI_COMMAND"),
		Netns:    getenv("CNI_NETNS"),
		Args:     getenv("CNI_ARGS"),
		Path:     getenv("CNI_PATH"),
		OwnNetns: getenv("CNI_NETNS_OVERRIDE") == "1" || strings.EqualFold(getenv("CNI_NETNS_OVERRIDE"), "true"),
	}
	r.ContainerID, r.IfName = getenv("CNI_CONTAINERID"), getenv("CNI_IFNAME")
	input, err := io.ReadAll(io.LimitReader(stdin, inputMax+1))
	if err != nil {
		return r, Errorf(CodeIO, "read the configuration from standard input: %w", err)
	}
	if len(input) > inputMax {
		return r, Errorf(CodeIO, "the configuration on standard input has more than %d bytes", inputMax)
	}
	r.Stdin, r.Doc = input, conf.Parse(input)
	decodeErr := r.Doc.Into(&r.Conf)
	r.Network = r.Conf.Name
	if r.Conf.CNIVersion == "" {
		r.Conf.CNIVersion = "0.1.0"
	}
	if err := r.checkEnvironment(); err != nil {
		return r, err
	}
	if decodeErr != nil {
		return r, decodeErr
	}
	return r, r.checkVersion()
}

// checkEnvironment names every variable that is missing, or the first whose
// value cannot be used.
func (r *Request) checkEnvironment() error {
	var need []string
	switch r.Verb {
	case Add, Check:
		need = []string{"CNI_CONTAINERID", "CNI_NETNS", "CNI_IFNAME"}
	case Del:
		need = []string{"CNI_CONTAINERID", "CNI_IFNAME"}
	case GC, Status:
		return nil
	default:
		return Errorf(CodeEnvironment, "CNI_COMMAND is %q, and can be ADD, DEL, CHECK, GC, STATUS or VERSION", r.Verb)
	}
	have := map[string]string{"CNI_CONTAINERID": r.ContainerID, "CNI_NETNS": r.Netns, "CNI_IFNAME": r.IfName}
	missing := slices.DeleteFunc(slices.Clone(need), func(v string) bool { return have[v] != "" })
	if len(missing) > 0 {
		return Errorf(CodeEnvironment, "%s needs the environment variables %s", r.Verb, strings.Join(missing, ", "))
	}
	if err := checkID("CNI_CONTAINERID", r.ContainerID); err != nil {
		return WithCode(CodeEnvironment, err)
	}
	return WithCode(CodeEnvironment, CheckIfName(r.IfName))
}

// HopelessFor reports whether an error of Read leaves nothing that a DEL could
// act on: the attachment is not known, or the input is no JSON at all.
func HopelessFor(err error) bool {
	code := AsError(err).Code
	return code == CodeEnvironment || code == CodeIO || errors.Is(err, conf.ErrSyntax)
}

// idMax is what a file name can hold beside what we and libcni add to it.
const idMax = 200

// checkID applies the specification's rule for container ids and network names.
func checkID(what, id string) error {
	if len(id) > idMax {
		return fmt.Errorf("%s has %d characters, and can have %d", what, len(id), idMax)
	}
	if id == "" || !strings.Contains(alphanumeric, id[:1]) || strings.Trim(id, alphanumeric+"_.-") != "" {
		return fmt.Errorf("%s is %q: it must begin with a letter or digit and go on with letters, digits, '_', '.' and '-'", what, id)
	}
	return nil
}

const alphanumeric = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"

// CheckAttachment applies the rules for all that names an attachment.
func CheckAttachment(a name.Attachment) error {
	return errors.Join(checkID("name", a.Network), checkID("CNI_CONTAINERID", a.ContainerID), CheckIfName(a.IfName))
}

// CheckIfName holds CNI_IFNAME against CheckLinkName.
func CheckIfName(ifname string) error { return CheckLinkName("CNI_IFNAME", ifname) }

// CheckLinkName applies the kernel's rule for names of interfaces
// (dev_valid_name), and refuses the patterns that it would fill in with a number
// (dev_alloc_name). None is no error.
func CheckLinkName(what, link string) error {
	bad := len(link) > 15 || link == "." || link == ".." ||
		strings.ContainsFunc(link, func(c rune) bool { return strings.ContainsRune("/:%", c) || unicode.IsSpace(c) })
	if bad {
		return fmt.Errorf("%s is %q: an interface name has 1 to 15 bytes, without '/', ':', '%%' and blanks", what, link)
	}
	return nil
}

// CheckName applies the rule for network names: every plugin needs one. What a link's
// alias has no room for GC could not tell; libcni has none for it in a file's name.
func (r *Request) CheckName() error {
	if r.Network == "" {
		return Errorf(CodeConfig, "the configuration has no name")
	}
	if n := len(r.Attachment.String()); r.Verb == Add && n > name.AliasMax {
		return Errorf(CodeConfig, "name, CNI_CONTAINERID and CNI_IFNAME have %d characters together, and can have %d", n-2, name.AliasMax-2)
	}
	return WithCode(CodeConfig, checkID("name", r.Network))
}

// supported lists the versions of the specification that every plugin speaks.
var supported = version.All

// since says from which version on a verb exists.
var since = map[string]string{Check: "0.4.0", GC: "1.1.0", Status: "1.1.0"}

func (r *Request) checkVersion() error {
	v := r.Conf.CNIVersion
	if !slices.Contains(supported.SupportedVersions(), v) {
		return Errorf(CodeVersion, "cniVersion is %q, and can be %s", v, strings.Join(supported.SupportedVersions(), ", "))
	}
	if least := since[r.Verb]; least != "" && !AtLeast(v, least) {
		return Errorf(CodeVersion, "%s exists from cniVersion %s on, and the configuration is written for %s", r.Verb, least, v)
	}
	return nil
}

// AtLeast reports whether a known version is as new as another.
func AtLeast(v, least string) bool {
	ok, err := version.GreaterThanOrEqualTo(v, least)
	return err == nil && ok
}

// ValidAttachments gives the attachments that GC must leave alone. Where the
// runtime did not say, which is not the same as saying none, ok is false.
func (r *Request) ValidAttachments() (valid []name.Attachment, ok bool) {
	given := r.Conf.valid()
	for _, v := range given.List {
		valid = append(valid, name.Attachment{Network: r.Network, ContainerID: v.ContainerID, IfName: v.IfName})
	}
	return valid, given.Given
}

// valid is the list under one name or the other.
func (c *Conf) valid() Valid {
	if c.Valid.Given {
		return c.Valid
	}
	return c.LegacyValid
}

// PrintVersions is the answer to VERSION.
func PrintVersions(w io.Writer) error { return supported.Encode(w) }

// About is what a plugin says of the protocol to somebody who runs it by hand.
func About() string {
	return "CNI protocol versions supported: " + strings.Join(supported.SupportedVersions(), ", ")
}

// ParseArgs reads CNI_ARGS: pairs KEY=VALUE between semicolons. A key without a
// value is taken as absent. Keys that are not known are an error unless
// IgnoreUnknown is set, as upstream has it.
func ParseArgs(args string, known ...string) (map[string]string, error) {
	got := map[string]string{}
	var unknown []string
	for pair := range strings.SplitSeq(args, ";") {
		if strings.TrimSpace(pair) == "" {
			continue
		}
		key, value, ok := strings.Cut(pair, "=")
		if !ok {
			return nil, Errorf(CodeEnvironment, "CNI_ARGS has %q, which is not KEY=VALUE", pair)
		}
		if key != "IgnoreUnknown" && !slices.Contains(known, key) {
			unknown = append(unknown, key)
		}
		delete(got, key) // the last one counts
		if value != "" {
			got[key] = value
		}
	}
	ignore := strings.ToLower(got["IgnoreUnknown"])
	if unknown != nil && ignore != "1" && ignore != "true" {
		return got, Errorf(CodeEnvironment, "CNI_ARGS has %s, which this plugin does not know: add IgnoreUnknown=1 to allow it", unknown[0])
	}
	return got, nil
}

// warnings is how many a plugin writes at most.
const warnings = 16

// Warn is Lint, and writes what is unknown as the warnings of a plugin.
func (r *Request) Warn(w io.Writer, plugin string, shapes ...any) error {
	unknown, err := r.Lint(shapes...)
	for i, u := range unknown {
		if i == warnings {
			u = fmt.Errorf("and %d more", len(unknown)-warnings)
		}
		if i <= warnings {
			fmt.Fprintf(w, "catena %s: network %s: %v\n", plugin, r.Network, u)
		}
	}
	return err
}

// Lint looks for keys that neither the common configuration nor the plugin's
// own shapes know. They are an error where the configuration asks for it.
func (r *Request) Lint(shapes ...any) (warnings []error, err error) {
	unknown, twice := r.Doc.Lint(append(shapes, &r.Conf)...)
	if twice != nil {
		return nil, twice
	}
	if r.Conf.Strict && len(unknown) > 0 {
		return nil, errors.Join(unknown...)
	}
	return unknown, nil
}
