package daemon

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log"
	"os"
	"os/signal"
	"path/filepath"
	"strconv"
	"syscall"
	"time"

	"github.com/catena-cni/catena/internal/ipam/dhcp/client"
	"github.com/catena-cni/catena/internal/state"
)

// settings are the daemon's command line. Names and defaults are upstream's;
// statedir is ours.
type settings struct {
	pidFile, hostPrefix, socketPath, stateDir string
	broadcast                                 bool
	timeout, resendMax, resendTimeout         time.Duration
}

func parse(args []string, out io.Writer) (s settings, err error) {
	f := flag.NewFlagSet("dhcp daemon", flag.ContinueOnError)
	f.SetOutput(out)
	f.StringVar(&s.pidFile, "pidfile", "", "absolute `path` of a file for the daemon's process id")
	f.StringVar(&s.hostPrefix, "hostprefix", "", "`prefix` of the socket's, the leases' and the network namespaces' paths, where the host's files are below it")
	f.StringVar(&s.socketPath, "socketpath", SocketPath, "`path` of the socket that the plugin speaks to")
	f.StringVar(&s.stateDir, "statedir", "/var/lib/cni/dhcp", "`folder` that the leases are kept in, so that a daemon that starts goes on with them")
	f.BoolVar(&s.broadcast, "broadcast", false, "have servers answer by broadcast")
	f.DurationVar(&s.timeout, "timeout", 10*time.Second, "how long a server has for the answer to a request, before another is looked for")
	f.DurationVar(&s.resendMax, "resendmax", 62*time.Second, "longest time between two sendings of the same message; it begins with 1s and doubles")
	f.DurationVar(&s.resendTimeout, "resendtimeout", 208*time.Second, "how long a pod waits for its lease")
	if err := f.Parse(args); err != nil {
		return s, err
	}
	switch {
	case f.NArg() > 0:
		return s, fmt.Errorf("%q is no argument of the daemon: run 'dhcp daemon -help'", f.Arg(0))
	case s.pidFile != "" && !filepath.IsAbs(s.pidFile):
		return s, fmt.Errorf("-pidfile is %s, and must be an absolute path", s.pidFile)
	case s.timeout <= 0 || s.resendMax <= 0 || s.resendTimeout <= 0:
		return s, errors.New("-timeout, -resendmax and -resendtimeout must be more than 0")
	}
	return s, nil
}

// Run is the daemon's process, until a signal ends it. The leases stay, on the
// pods and on disk: the next daemon goes on with them. It returns the exit code.
func Run(args []string) int {
	log.SetFlags(0) // the journal has the time
	s, err := parse(args, os.Stderr)
	if errors.Is(err, flag.ErrHelp) {
		return 0
	}
	if err == nil {
		err = s.run()
	}
	if err != nil {
		log.Printf("dhcp daemon: %v", err)
		return 1
	}
	return 0
}

func (s settings) run() error {
	folder := s.hostPrefix + s.stateDir
	locked, err := lock(folder)
	if err != nil {
		return err
	}
	defer locked.Close()
	l, err := listen(s.hostPrefix + s.socketPath)
	if err != nil {
		return err
	}
	defer l.Close()
	if s.pidFile != "" {
		if err := os.WriteFile(s.pidFile, strconv.AppendInt(nil, int64(os.Getpid()), 10), 0o644); err != nil {
			return err
		}
		defer os.Remove(s.pidFile)
	}
	life, end := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer end()
	d := &Daemon{
		HostPrefix: s.hostPrefix, State: state.Folder(folder), Broadcast: s.broadcast, Limit: s.resendTimeout,
		Patience: client.Patience{Answer: s.timeout, ResendMax: s.resendMax},
	}
	if err := d.Start(life); err != nil {
		return err
	}
	context.AfterFunc(life, func() { _ = l.Close() })
	log.Printf("listening at %v", l.Addr())
	return d.Methods().Serve(life, l)
}
