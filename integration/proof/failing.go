package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// errnos are what a call ends with that the kernel, a disk or a signal lets fail.
var errnos = []unix.Errno{unix.ENOMEM, unix.EIO, unix.ENOSPC, unix.EBUSY, unix.EPERM, unix.EINTR, unix.ENOBUFS}

// refused are those that a request is refused with, or a file. Sockets know them for what is sent alone.
var refused = []unix.Errno{unix.EBUSY, unix.EPERM, unix.ENOSPC}

// failing has each plugin's calls end with an error, one in each execution: it says so with an error, or does without. An ADD that
// has failed has left nothing, without a DEL; after a DEL or a GC that has failed, the next one clears.
func failing(p *proof) (rows []row, err error) {
	for _, c := range chains {
		for _, verb := range verbs {
			if !p.wants(c.name + " " + verb) {
				continue
			}
			r, err := p.over(c, verb, works, len(errnos), func(s *site, at point) ([]string, error) { return s.fail(verb, at) })
			if err != nil {
				return rows, fmt.Errorf("%s: %w", c.name, err)
			}
			rows = append(rows, r)
		}
		if p.wants(c.name + " interrupted") {
			r, err := p.interrupted(c)
			if err != nil {
				return rows, fmt.Errorf("%s: %w", c.name, err)
			}
			rows = append(rows, r)
		}
	}
	return rows, nil
}

// fail has a call fail of a plugin, and goes on as a runtime does.
func (s *site) fail(verb string, at point) (wrong []string, err error) {
	try := s.failOver
	if verb == "GC" {
		try = s.failCollecting
	}
	o, wrong, err := try(verb, at)
	switch {
	case err != nil:
		return nil, err
	case len(o.struck) == 0:
		return nil, errMissed
	case len(wrong) == 0:
		return nil, nil
	}
	return []string{fmt.Sprintf("%s of %s with %s at call %d (%s) %s: %s", verb, s.confs[at.plugin]["type"], unix.ErrnoName(errnos[at.way]), at.call, o.struck[0],
		ended(o), strings.Join(wrong, "; "))}, s.renew()
}

// failOver has a call fail over what the plugins before in the chain have made. These stay attached. A DEL may owe something to
// the next one.
func (s *site) failOver(verb string, at point) (o outcome, wrong []string, err error) {
	if err := s.bring(at.plugin); err != nil {
		return o, nil, err
	}
	prev := s.upTo.result
	if verb == "DEL" {
		if prev, err = s.add(at.plugin, at.plugin+1, prev); err != nil {
			return o, nil, err
		}
	}
	if o, err = s.call(verb, at.plugin, prev, broken(at)); err != nil {
		return o, nil, err
	}
	wrong = s.worded(o)
	if verb == "ADD" && o.ok() {
		wrong = append(wrong, s.works(at.plugin, json.RawMessage(o.stdout))...)
	}
	if verb == "DEL" || o.ok() {
		if err := s.each("DEL", at.plugin, at.plugin+1, prev); err != nil {
			wrong = append(wrong, err.Error())
		}
	}
	left, err := s.left(s.upTo.state, true)
	return o, append(wrong, left...), err
}

// failCollecting has a call fail of a GC where nobody is valid. The next GC finishes.
func (s *site) failCollecting(_ string, at point) (o outcome, wrong []string, err error) {
	if _, err := s.approach("GC", at.plugin); err != nil {
		return o, nil, err
	}
	if o, err = s.call("GC", at.plugin, nil, broken(at)); err != nil {
		return o, nil, err
	}
	wrong = s.worded(o)
	left, err := s.collect()
	return o, append(wrong, left...), err
}

// broken has the call of a point end with its error, among those that can end so.
func broken(at point) strike {
	s := strike{counts: works, at: at.call, errno: errnos[at.way]}
	switch {
	case s.errno == unix.EINTR:
		s.counts = interruptible
	case slices.Contains(refused, s.errno):
		s.counts = func(c call) bool {
			d := described[c.nr]
			return works(c) && (!d.onFile || d.class&changes != 0 || c.file() != "socket")
		}
	}
	return s
}

// bring attaches the plugins below a number, and nothing else.
func (s *site) bring(k int) error {
	if s.upTo != nil && s.upTo.k == k && s.chain.anew == "" {
		return nil
	}
	s.upTo = nil
	err := errors.Join(s.all("DEL", nil), s.rest(), s.begin())
	var result json.RawMessage
	if err == nil {
		result, err = s.add(0, k, nil)
	}
	var now state
	if err == nil {
		now, err = s.state()
	}
	if err == nil {
		s.upTo = &attached{k, result, now}
	}
	return err
}

// attached is what the plugins below a number have made.
type attached struct {
	k      int
	result json.RawMessage
	state  state
}

// works looks whether an ADD that has succeeded all the same has made what CHECK expects.
func (s *site) works(k int, result json.RawMessage) []string {
	o, err := s.call("CHECK", k, result, s.always)
	if err == nil {
		err = s.said("CHECK", k, o)
	}
	if err != nil {
		return []string{err.Error()}
	}
	return nil
}

// bare are errors that say nothing but an errno.
var bare = regexp.MustCompile(`^(errno \d+|[a-z ]+)$`)

// worded holds the words and the code of an error against what they are to be. An error that cannot be printed stands on
// standard error.
func (s *site) worded(o outcome) (wrong []string) {
	if o.hung || !o.status.Exited() || strings.Contains(o.stderr, "goroutine ") {
		return []string{ended(o) + ": " + oneLine(o.stderr)}
	}
	if o.ok() {
		return nil
	}
	text := o.stdout
	if text == "" {
		text = o.stderr[max(0, strings.Index(o.stderr, "{")):]
	}
	var said struct {
		Code uint
		Msg  string
	}
	if err := json.NewDecoder(strings.NewReader(text)).Decode(&said); err != nil {
		return []string{"no error that can be read: " + oneLine(o.stdout+" "+o.stderr)}
	}
	// 1 to 3, 7 and 8 blame the configuration, and 101 what is there already.
	if said.Code < 4 || said.Code == 7 || said.Code == 8 || said.Code == 101 {
		wrong = append(wrong, fmt.Sprintf("code %d: %s", said.Code, said.Msg))
	}
	if bare.MatchString(said.Msg) {
		wrong = append(wrong, "no more than: "+said.Msg)
	}
	return wrong
}
