package tuning

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"slices"
	"strings"

	"github.com/safchain/ethtool"
	"golang.org/x/sys/unix"

	"github.com/catena-cni/catena/internal/fact"
	"github.com/catena-cni/catena/internal/kernel"
)

// Features are features of the interface's device, as ethtool -k lists them. Saved
// puts back what was.
type Features struct {
	fact.Stays
	Link   string
	Wanted map[string]bool
}

func (f Features) String() string {
	words := []string{"tune pod", f.Link}
	for _, feature := range slices.Sorted(maps.Keys(f.Wanted)) {
		words = append(words, fmt.Sprintf("%s=%t", feature, f.Wanted[feature]))
	}
	return strings.Join(words, " ")
}

func (f Features) Idle() bool { return len(f.Wanted) == 0 }

// Add changes them, and looks whether the device has taken them: the kernel does
// not refuse to change a fixed feature. Saved puts back the others then.
func (f Features) Add(k *kernel.Kernel) error {
	if err := f.ask(k); err != nil {
		return err
	}
	_, active, err := f.now(k)
	if err != nil {
		return err
	}
	for feature, on := range f.Wanted {
		if active[feature] != on {
			return fmt.Errorf("the device of %s keeps its feature %q as it is: ethtool -k shows it as fixed, or another feature hangs on it", f.Link, feature)
		}
	}
	return nil
}

func (f Features) Check(k *kernel.Kernel) error {
	_, active, err := f.now(k)
	if err == nil && !maps.Equal(active, f.Wanted) {
		err = fmt.Errorf("they are %v", active)
	}
	return err
}

// ask asks for the features. Whether one takes effect depends on the device and on
// other features.
func (f Features) ask(k *kernel.Kernel) error {
	return f.inPod(k, func(e *ethtool.Ethtool) error { return e.Change(f.Link, f.Wanted) })
}

// now gives which of the features are asked for, and which take effect.
func (f Features) now(k *kernel.Kernel) (requested, active map[string]bool, err error) {
	err = f.inPod(k, func(e *ethtool.Ethtool) error {
		all, err := e.FeaturesWithState(f.Link)
		if err != nil {
			return err
		}
		requested, active = map[string]bool{}, map[string]bool{}
		for _, feature := range slices.Sorted(maps.Keys(f.Wanted)) {
			state, known := all[feature]
			if !known {
				return fmt.Errorf("the device has no feature %q: ethtool -k shows those it has", feature)
			}
			requested[feature], active[feature] = state.Requested, state.Active
		}
		return nil
	})
	return requested, active, err
}

// inPod runs a function with ethtool in the pod, where there are features at all.
func (f Features) inPod(k *kernel.Kernel, do func(*ethtool.Ethtool) error) error {
	if f.Idle() {
		return nil
	}
	err := k.Do(kernel.Pod, func() error {
		e, err := ethtool.NewEthtool()
		if err != nil {
			return fmt.Errorf("ethtool: %w", err)
		}
		defer e.Close()
		return do(e)
	})
	if errors.Is(err, unix.ENODEV) {
		err = fs.ErrNotExist
	}
	if err != nil {
		return fmt.Errorf("features of %s: %w", f.Link, err)
	}
	return nil
}
