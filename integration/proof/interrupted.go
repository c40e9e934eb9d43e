package main

import (
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// interrupted has a signal end every second call of all plugins, of those that it can end, and all is as ever. Its points are
// the calls that it has ended.
func (p *proof) interrupted(c chain) (r row, err error) {
	r.what = c.name + " interrupted"
	if lacks, err := r.lacks(c.needs); lacks || err != nil {
		return r, err
	}
	s, err := newSite(p, c)
	if err != nil {
		return r, err
	}
	defer s.close()
	for _, first := range []int{1, 2} {
		s.always = strike{counts: s.interruptible, at: first, every: 2, errno: unix.EINTR}
		wrong, err := s.asEver()
		if err != nil {
			return r, err
		}
		for i := range wrong {
			wrong[i] = fmt.Sprintf("every second call interrupted, from the %d. on: %s", first, wrong[i])
		}
		r.wrong = append(r.wrong, wrong...)
	}
	r.points = s.struck
	return r, nil
}

// interruptible leaves out the programs that plugins execute, as iptables: no signal comes to these.
func (s *site) interruptible(c call) bool {
	exe, _ := os.Readlink(fmt.Sprintf("/proc/%d/exe", c.pid))
	_, err := os.Stat(filepath.Join(s.plugins, filepath.Base(exe)))
	return err == nil && interruptible(c)
}

// asEver goes through all verbs of all plugins, each of which is to succeed.
func (s *site) asEver() (wrong []string, err error) {
	fine := func(err error) {
		if err != nil {
			wrong = append(wrong, err.Error())
		}
	}
	fine(s.all("STATUS", nil))
	result, err := s.addAll()
	if fine(err); err == nil {
		fine(s.all("CHECK", result))
		s.lives = true
		fine(s.all("GC", nil))
		fine(s.all("CHECK", result))
		s.lives = false
	}
	fine(s.all("GC", nil))
	s.collected = true
	left, err := s.left(s.before, false)
	if err != nil {
		return nil, err
	}
	wrong = append(wrong, left...)
	left, err = s.cleared(s.all("DEL", result))
	return append(wrong, left...), err
}
