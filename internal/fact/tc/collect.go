package tc

import (
	"encoding/hex"
	"slices"
	"strings"

	"github.com/catena-cni/catena/internal/kernel"
	"github.com/catena-cni/catena/internal/state/name"
)

// Attachments lists the attachments that have an IFB on the host, for GC.
func Attachments(k *kernel.Kernel) ([]name.Attachment, error) {
	return k.Owners(func(at name.Attachment, l *kernel.Link) bool {
		return l.Kind == "ifb" && slices.Contains(IFB{Owner: at}.names(), l.Name)
	})
}

// Orphans removes IFBs without an owner, as upstream's are, to which no filter
// redirects any more: the link of their pod has gone. It dumps links and filters,
// so it is for GC alone.
//
// An ADD for another network may be making such a device just now. It has no shaper
// yet: upstream's ADD makes that after the filter, ours after the alias. One of ours
// that was killed before that is Newborn still.
func Orphans(k *kernel.Kernel) error {
	orphans, err := finished(k)
	if err != nil || len(orphans) == 0 {
		return err
	}
	// The filters are looked at after the shapers, on the links that there are by
	// then: those of a device with a shaper are among them.
	links, err := k.Links(kernel.Host)
	if err != nil {
		return err
	}
	for _, l := range links {
		all, err := target{k, kernel.Host, l}.filters(received)
		if err != nil {
			return err // who cannot see every filter cannot tell
		}
		for _, f := range all {
			if to, is := redirect(f); is {
				delete(orphans, to)
			}
		}
	}
	var gone []*kernel.Link
	for _, l := range orphans {
		if now, err := k.LinkAt(kernel.Host, l.Index); err != nil || now.Alias != l.Alias {
			continue // it is somebody's by now
		}
		gone = append(gone, l)
	}
	return k.RemoveLinks(kernel.Host, gone)
}

// finished are the IFBs without an owner that have their shaper, by number.
func finished(k *kernel.Kernel) (map[int]*kernel.Link, error) {
	links, err := k.Links(kernel.Host)
	if err != nil {
		return nil, err
	}
	out := map[int]*kernel.Link{}
	for _, l := range links {
		if _, err := name.Parse(l.Alias); err == nil || l.Kind != "ifb" || !isName(l.Name) {
			continue
		}
		there, err := target{k, kernel.Host, l}.at(Root)
		if err := gone(err); err != nil {
			return nil, err
		}
		if there.kind == "tbf" {
			out[l.Index] = l
		}
	}
	return out, nil
}

// isName tells names as the plugin gives them.
func isName(link string) bool {
	digits, ok := strings.CutPrefix(link, ifbPrefix)
	_, err := hex.DecodeString(digits)
	return ok && err == nil && len(digits) == ifbDigits
}
