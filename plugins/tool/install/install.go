// Command install puts the suite's plugins and a network configuration into the folders of a node where a container
// runtime looks for them, keeps them there, and takes them away again.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"
)

const (
	// changes are what can make a folder other than it shall be.
	changes = syscall.IN_CLOSE_WRITE | syscall.IN_ATTRIB | syscall.IN_CREATE | syscall.IN_DELETE | syscall.IN_MOVE | syscall.IN_DELETE_SELF | syscall.IN_MOVE_SELF | syscall.IN_ONLYDIR
	// rest is between two looks: whoever else keeps a file of the same name would answer each of ours.
	rest = time.Second
)

// options are what the flags say.
type options struct {
	from, conflist, ready string
	bin, conf             folder
	once                  bool
}

func main() {
	var o options
	flag.StringVar(&o.from, "from", "/opt/cni/bin", "the folder whose programs are put into the node's")
	flag.StringVar((*string)(&o.bin), "bin", "/host/opt/cni/bin", "the node's folder of plugins")
	flag.StringVar(&o.conflist, "conflist", "", "the configuration that is put into the node's; without it, none is")
	flag.StringVar((*string)(&o.conf), "conf", "/host/etc/cni/net.d", "the node's folder of configurations")
	flag.StringVar(&o.ready, "ready", "", "a file that is there while all is in place; without it, there is none")
	flag.BoolVar(&o.once, "once", false, "end when all is in place, instead of keeping it there until SIGTERM")
	check := flag.Bool("check", false, "only say by the exit code whether the file of -ready is there")
	uninstall := flag.Bool("uninstall", false, "only take away what was put there and is still as it was")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, os.Interrupt)
	defer stop()
	var err error
	switch {
	case flag.NArg() > 0:
		err = fmt.Errorf("%q is no flag", flag.Arg(0))
	case *check:
		_, err = os.Stat(o.ready)
	case *uninstall:
		err = o.uninstall()
	default:
		err = o.install(ctx)
	}
	if err != nil {
		fmt.Fprintf(os.Stderr, "install: %v\n", err)
		os.Exit(1)
	}
}

// install puts everything in place, and unless it is to do so once, keeps it there until ctx ends. It stays then: the node
// needs it also while this program is away.
func (o options) install(ctx context.Context) error {
	plugins, err := programs(o.from)
	if err != nil {
		return err
	}
	o.bin.sweep()
	o.conf.sweep()
	if o.once {
		return o.put(plugins)
	}
	_ = os.Remove(o.ready) // of a run that was killed
	defer os.Remove(o.ready)
	folders := []string{string(o.bin)}
	if o.conflist != "" {
		folders = append(folders, string(o.conf), filepath.Dir(o.conflist))
	}
	return watch(ctx, folders, func() error {
		if err := o.put(plugins); err != nil || o.ready == "" {
			return err
		}
		return os.WriteFile(o.ready, nil, 0o600)
	})
}

// watch calls put, and again after each change in a folder, until ctx ends or put fails.
func watch(ctx context.Context, folders []string, put func() error) error {
	fd, err := syscall.InotifyInit1(syscall.IN_NONBLOCK | syscall.IN_CLOEXEC)
	if err != nil {
		return os.NewSyscallError("inotify_init1", err)
	}
	events := os.NewFile(uintptr(fd), "inotify")
	defer events.Close()
	defer context.AfterFunc(ctx, func() { events.Close() })()
	for buffer := make([]byte, 64<<10); ; {
		for _, dir := range folders { // again each time, as one may be removed and made anew
			if err := os.MkdirAll(dir, 0o755); err != nil {
				return err
			}
			if _, err := syscall.InotifyAddWatch(fd, dir, changes); err != nil {
				return &os.PathError{Op: "watch", Path: dir, Err: err}
			}
		}
		if err := put(); err != nil {
			return err
		}
		<-time.After(rest)
		// Of the events it is enough that there are some.
		if _, err := events.Read(buffer); ctx.Err() != nil {
			return nil
		} else if err != nil {
			return err
		}
	}
}

// put is what a runtime may watch: it sees a configuration when everything that this names is there and whole. What an
// older version had and this one has not goes last.
func (o options) put(plugins []file) error {
	if err := o.bin.put(plugins); err != nil {
		return err
	}
	if o.conflist != "" {
		list, err := o.list(plugins)
		if err != nil {
			return err
		}
		if err := errors.Join(o.conf.put([]file{list}), o.conf.drop([]file{list})); err != nil {
			return err
		}
	}
	return o.bin.drop(plugins)
}

// uninstall takes the configuration away before its plugins.
func (o options) uninstall() error {
	for _, f := range []folder{o.conf, o.bin} {
		f.sweep()
		if err := f.drop(nil); err != nil {
			return err
		}
	}
	return nil
}

// programs are the executable files of a folder.
func programs(dir string) (found []file, err error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	for _, entry := range entries {
		st, err := entry.Info()
		if err != nil {
			return nil, err
		}
		if !st.Mode().IsRegular() || st.Mode()&0o111 == 0 || strings.HasPrefix(entry.Name(), ".") {
			continue
		}
		one, err := source(filepath.Join(dir, entry.Name()), 0o755)
		if err != nil {
			return nil, err
		}
		found = append(found, one)
	}
	if len(found) == 0 {
		return nil, fmt.Errorf("%s has no programs", dir)
	}
	return found, nil
}

// list is the configuration, which a runtime is not to see unless it can be used.
func (o options) list(plugins []file) (file, error) {
	list, err := source(o.conflist, 0o600) // a text of another moment is not put anywhere
	if err != nil {
		return list, err
	}
	text, err := os.ReadFile(o.conflist)
	if err != nil {
		return list, err
	}
	type plugin struct{ Type string }
	var has struct {
		Name    string
		Plugins []struct {
			plugin
			IPAM plugin
		}
	}
	if err := json.Unmarshal(text, &has); err != nil {
		return list, fmt.Errorf("%s: %w", o.conflist, err)
	}
	if filepath.Ext(list.name) != ".conflist" || has.Name == "" || len(has.Plugins) == 0 {
		return list, fmt.Errorf("%s is no list of plugins with a name, in a file that ends in .conflist", o.conflist)
	}
	for _, one := range has.Plugins {
		for _, name := range []string{one.Type, one.IPAM.Type} {
			if name == "" || slices.ContainsFunc(plugins, func(f file) bool { return f.name == name }) {
				continue
			}
			if sum, _, err := o.bin.look(name); err != nil || sum == "" {
				return list, errors.Join(fmt.Errorf("%s names the plugin %q, which is neither in %s nor in %s", o.conflist, name, o.from, o.bin), err)
			}
		}
	}
	return list, nil
}
