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

	"golang.org/x/sys/unix"

	"github.com/catena-cni/catena/internal/state"
)

// settings are the daemon's command line, as far as the daemon itself does not
// have it. Names and defaults are upstream's; statedir is ours.
type settings struct{ pidFile, socketPath, stateDir string }

func parse(args []string, out io.Writer) (s settings, d *Daemon, err error) {
	d = &Daemon{}
	f := flag.NewFlagSet("dhcp daemon", flag.ContinueOnError)
	f.SetOutput(out)
	f.StringVar(&s.pidFile, "pidfile", "", "absolute `path` of a file for the daemon's process id")
	f.StringVar(&d.HostPrefix, "hostprefix", "", "`prefix` of the socket's, the leases' and the network namespaces' paths, where the host's files are below it")
	f.StringVar(&s.socketPath, "socketpath", SocketPath, "`path` of the socket that the plugin speaks to")
	f.StringVar(&s.stateDir, "statedir", "/var/lib/cni/dhcp", "`folder` that the leases are kept in, so that a daemon that starts goes on with them")
	f.BoolVar(&d.Broadcast, "broadcast", false, "have servers answer by broadcast")
	f.DurationVar(&d.Patience.Answer, "timeout", 10*time.Second, "how long a server has for the answer to a request, before another is looked for")
	f.DurationVar(&d.Patience.ResendMax, "resendmax", 62*time.Second, "longest time between two sendings of the same message; it begins with 1s and doubles")
	f.DurationVar(&d.Limit, "resendtimeout", 208*time.Second, "how long a pod waits for its lease")
	if err := f.Parse(args); err != nil {
		return s, d, err
	}
	switch {
	case f.NArg() > 0:
		err = fmt.Errorf("%q is no argument of the daemon: run 'dhcp daemon -help'", f.Arg(0))
	case s.pidFile != "" && !filepath.IsAbs(s.pidFile):
		err = fmt.Errorf("-pidfile is %s, and must be an absolute path", s.pidFile)
	case d.Patience.Answer <= 0 || d.Patience.ResendMax <= 0 || d.Limit <= 0:
		err = errors.New("-timeout, -resendmax and -resendtimeout must be more than 0")
	}
	return s, d, err
}

// Run is the daemon's process, until a signal ends it. The leases stay, on the
// pods and on disk: the next daemon goes on with them. It returns the exit code.
func Run(args []string) int {
	log.SetFlags(0) // the journal has the time
	s, d, err := parse(args, os.Stderr)
	if errors.Is(err, flag.ErrHelp) {
		return 0
	}
	if err == nil {
		err = s.run(d)
	}
	if err != nil {
		log.Printf("dhcp daemon: %v", err)
		return 1
	}
	return 0
}

func (s settings) run(d *Daemon) error {
	d.State = state.Folder(d.HostPrefix + s.stateDir)
	lock, err := d.State.Lock(unix.LOCK_EX | unix.LOCK_NB)
	if errors.Is(err, unix.EWOULDBLOCK) {
		err = fmt.Errorf("another daemon keeps the leases: %w", err)
	}
	if err != nil {
		return err
	}
	defer lock.Close()
	l, err := listen(d.HostPrefix + s.socketPath)
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
	if err := d.Start(life); err != nil {
		return err
	}
	context.AfterFunc(life, func() { _ = l.Close() })
	log.Printf("listening at %v", l.Addr())
	return d.Methods().Serve(life, l)
}
