package tuning

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"slices"

	"github.com/safchain/ethtool"
	"golang.org/x/sys/unix"
)

// formerFeatures reads what is asked of those features that are to be changed,
// whether or not it takes effect now, in the network namespace of the calling
// thread.
func formerFeatures(link string, wanted map[string]bool) (map[string]bool, error) {
	return featuresOf(link, wanted, func(s ethtool.FeatureState) bool { return s.Requested })
}

// features reads which of them take effect.
func features(link string, wanted map[string]bool) (map[string]bool, error) {
	return featuresOf(link, wanted, func(s ethtool.FeatureState) bool { return s.Active })
}

func featuresOf(link string, wanted map[string]bool, on func(ethtool.FeatureState) bool) (map[string]bool, error) {
	if len(wanted) == 0 {
		return nil, nil
	}
	e, err := ethtool.NewEthtool()
	if err != nil {
		return nil, fmt.Errorf("ethtool: %w", err)
	}
	defer e.Close()
	all, err := e.FeaturesWithState(link)
	if err != nil {
		return nil, fmt.Errorf("features of %s: %w", link, gone(err))
	}
	now := map[string]bool{}
	for _, feature := range slices.Sorted(maps.Keys(wanted)) {
		state, known := all[feature]
		if !known {
			return nil, fmt.Errorf("%s has no feature %q: ethtool -k shows those it has", link, feature)
		}
		now[feature] = on(state)
	}
	return now, nil
}

func gone(err error) error {
	if errors.Is(err, unix.ENODEV) {
		return fs.ErrNotExist
	}
	return err
}

// askFeatures says how features shall be. Whether it takes effect depends on the
// device and on other features.
func askFeatures(link string, wanted map[string]bool) error {
	e, err := ethtool.NewEthtool()
	if err != nil {
		return fmt.Errorf("ethtool: %w", err)
	}
	defer e.Close()
	if err := e.Change(link, wanted); err != nil {
		return fmt.Errorf("features of %s: %w", link, gone(err))
	}
	return nil
}

// changeFeatures sets features, and looks whether the device has taken them:
// one that is fixed stays as it is without a word.
func changeFeatures(link string, wanted map[string]bool) error {
	if err := askFeatures(link, wanted); err != nil {
		return err
	}
	now, err := features(link, wanted)
	if err != nil {
		return err
	}
	for feature, on := range wanted {
		if now[feature] != on {
			return fmt.Errorf("the device of %s keeps its feature %q as it is: ethtool -k shows it as fixed, or another feature hangs on it", link, feature)
		}
	}
	return nil
}
