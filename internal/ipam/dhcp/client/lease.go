package client

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"time"
)

// Lease is an address that a server has lent, and what it told with it.
type Lease struct {
	Address netip.Prefix `json:"address"`
	// Server is whom extensions are asked of; ServerID is its DUID (RFC 8415
	// section 11) and ServerMAC what its frames came from.
	Server    netip.Addr `json:"server,omitzero"`
	ServerID  []byte     `json:"serverID,omitempty"`
	ServerMAC string     `json:"serverMAC,omitempty"`
	// Renew is when the server is asked for an extension, Rebind when any is,
	// Expire when the address must not be used any more. An Expire of zero never
	// comes.
	Renew  time.Time `json:"renew,omitzero"`
	Rebind time.Time `json:"rebind,omitzero"`
	Expire time.Time `json:"expire,omitzero"`

	Gateway netip.Addr   `json:"gateway,omitzero"`
	Routes  []Route      `json:"routes,omitempty"`
	MTU     int          `json:"mtu,omitempty"`
	DNS     []netip.Addr `json:"dns,omitempty"`
	Domain  string       `json:"domain,omitempty"`
	Search  []string     `json:"search,omitempty"`
	NTP     []netip.Addr `json:"ntp,omitempty"`
}

// Route is a route that a server told. Without Via the destination is on the
// link itself.
type Route struct {
	Dst netip.Prefix `json:"dst"`
	Via netip.Addr   `json:"via,omitzero"`
}

func (l *Lease) String() string {
	if l.Expire.IsZero() {
		return fmt.Sprintf("%v for good", l.Address)
	}
	return fmt.Sprintf("%v until %s", l.Address, l.Expire.Format(time.RFC3339))
}

// Same reports whether two leases, of which nil is none, differ at most in their
// times and in who gave them.
func (l *Lease) Same(o *Lease) bool {
	if l == nil || o == nil {
		return l == o
	}
	return l.Address == o.Address && l.Gateway == o.Gateway && l.MTU == o.MTU && l.Domain == o.Domain &&
		slices.Equal(l.Routes, o.Routes) && slices.Equal(l.DNS, o.DNS) && slices.Equal(l.Search, o.Search) && slices.Equal(l.NTP, o.NTP)
}

// Expired reports whether the address must not be used any more.
func (l *Lease) Expired(now time.Time) bool { return !l.Expire.IsZero() && !now.Before(l.Expire) }

// schedule sets the lease's times. What the server did not say, or said out of
// order, is taken from the lease's length (RFC 2131 section 4.4.5, RFC 8415
// section 21.4: half of it, and seven eighths or eight tenths).
func (l *Lease) schedule(from time.Time, valid, renew, rebind time.Duration, rebindShare float64) {
	if valid == forever {
		return
	}
	if renew <= 0 || renew >= valid {
		renew = valid / 2
	}
	renew = max(renew, time.Second) // whatever a server says
	if rebind <= renew || rebind > valid {
		rebind = max(time.Duration(float64(valid)*rebindShare), renew)
	}
	l.Renew, l.Rebind, l.Expire = from.Add(renew), from.Add(rebind), from.Add(valid)
}

// shortest is the least time that a lease is taken for.
const shortest = 3 * time.Second

// forever is a lease's length that means that it does not end.
const forever = time.Duration(1<<32-1) * time.Second

// What an exchange can end with beside an answer.
var (
	// ErrRefused says that the server takes the lease back (DHCPNAK, or the
	// status NoBinding): the address must not be used any more.
	ErrRefused = errors.New("the server refuses it")
	// ErrSilent says that nobody answered.
	ErrSilent = errors.New("no server answers")
)

// usable refuses an address that no interface can have, whatever a server says.
func usable(a netip.Addr) error {
	if !a.IsValid() || a.IsUnspecified() || a.IsLoopback() || a.IsMulticast() || a.Is4() && a.As4()[0] >= 240 {
		return fmt.Errorf("the server offers %v, which no interface can have", a)
	}
	return nil
}

// names keeps those of a server's domain names that are some: what it says ends
// in files of the pod, a line of which a line break would begin.
func names(all []string) []string {
	return slices.DeleteFunc(slices.Clone(all), func(n string) bool { return !isName(n) })
}

const (
	nameMax   = 253 // RFC 1035 section 2.3.4, as text
	nameBytes = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.-_"
)

func isName(n string) bool {
	return n != "" && len(n) <= nameMax && strings.Trim(n, nameBytes) == ""
}

// addrs are those of a list that are addresses.
func addrs(ips []net.IP) (out []netip.Addr) {
	for _, ip := range ips {
		if a, ok := netip.AddrFromSlice(ip); ok && !a.Unmap().IsUnspecified() {
			out = append(out, a.Unmap())
		}
	}
	return out
}
