// Package delegated is about attachments whose whole work another plugin does:
// the configuration that it is given, and the file that keeps it until DEL, so
// that DEL can give the very same again whatever has changed since.
package delegated

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/catena-cni/catena/internal/cni"
	"github.com/catena-cni/catena/internal/cni/conf"
)

// Conf is a plugin's configuration by its keys. Plugins read keys whatever
// their case, and so they are found here.
type Conf map[string]json.RawMessage

// Clone is a copy whose keys can be set. That of none is empty.
func (c Conf) Clone() Conf {
	if c == nil {
		return Conf{}
	}
	return maps.Clone(c)
}

// Get is the value of a key, nil where it is not there or empty. Of several that
// differ in case it is the last, which a plugin takes too: they are written in order.
func (c Conf) Get(key string) (value json.RawMessage) {
	for _, k := range slices.Sorted(maps.Keys(c)) {
		if strings.EqualFold(k, key) && !conf.Empty(c[k]) {
			value = c[k]
		}
	}
	return value
}

// Has reports whether a key is there.
func (c Conf) Has(key string) bool { return c.Get(key) != nil }

// Set gives a key a value, in place of the one that it may have.
func (c Conf) Set(key string, value any) error {
	text, err := json.Marshal(value)
	if err != nil {
		return fmt.Errorf("%s: %w", key, err)
	}
	maps.DeleteFunc(c, func(k string, _ json.RawMessage) bool { return strings.EqualFold(k, key) })
	c[key] = text
	return nil
}

// SetDefault is Set for a key that is not there.
func (c Conf) SetDefault(key string, value any) error {
	if c.Has(key) {
		return nil
	}
	return c.Set(key, value)
}

// Type is the name of the plugin.
func (c Conf) Type() (string, error) {
	return c.text("type")
}

// text reads a key that is a string, and is empty where it is not there.
func (c Conf) text(key string) (text string, err error) {
	if value := c.Get(key); value != nil && json.Unmarshal(value, &text) != nil {
		return "", cni.Errorf(cni.CodeConfig, "%s is %s, and is to be a string", key, value)
	}
	return text, nil
}
