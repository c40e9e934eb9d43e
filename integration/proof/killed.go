package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"
)

// killed ends each plugin at each of its calls that can change something, and goes on in each way in which a runtime can. What changes
// nothing needs no kill of its own: it would find the same as the next one. It ends the plugin itself, as a runtime does that
// loses patience, or the program that makes the call, which may be one that the plugin has executed, as a machine does that is
// out of memory.
func killed(p *proof) (rows []row, err error) {
	for _, c := range chains {
		for _, verb := range verbs {
			if !p.wants(c.name + " " + verb) {
				continue
			}
			r, err := p.over(c, verb, changing, 2, func(s *site, at point) ([]string, error) { return s.kill(verb, at) })
			if err != nil {
				return rows, fmt.Errorf("%s: %w", c.name, err)
			}
			rows = append(rows, r)
		}
	}
	return rows, nil
}

// verbs are those that change something.
var verbs = []string{"ADD", "DEL", "GC"}

// point is a call of one of a chain's plugins, and a number below that of the ways in which it can be struck.
type point struct{ plugin, call, way int }

// errMissed is of a point that is none: a plugin need not make as many calls each time.
var errMissed = errors.New("it has fewer calls than that")

// over tries points of a chain, on a site for each worker. Where not all are tried, each call that is gets one of the ways.
func (p *proof) over(c chain, verb string, counts func(call) bool, ways int, try func(*site, point) (wrong []string, err error)) (r row, err error) {
	r.what = c.name + " " + verb
	began := time.Now()
	defer func() {
		fmt.Fprintf(os.Stderr, "%s: %d points, %d wrong (%.0f s)\n", r.what, r.points, len(r.wrong), time.Since(began).Seconds())
		for _, sentence := range r.wrong {
			fmt.Fprintf(os.Stderr, "  %s\n", sentence)
		}
	}()
	if lacks, err := r.lacks(c.needs); lacks || err != nil {
		return r, err
	}
	s, err := newSite(p, c)
	if err != nil {
		return r, err
	}
	points, err := s.points(verb, counts)
	if err != nil {
		s.close()
		return r, err
	}
	sites := make([]*site, workers())
	sites[0] = s
	defer func() {
		for _, s := range sites {
			if s != nil {
				s.close()
			}
		}
	}()
	if len(points) == 0 {
		return r, fmt.Errorf("%s of %s makes no call that counts", verb, c.name)
	}
	var chosen []point
	for i, n := range p.spread(len(points)) {
		at := points[n-1]
		for way := range ways {
			if at.way = way; p.points == 0 || way == i%ways {
				chosen = append(chosen, at)
			}
		}
	}
	wrong, errs := make([][]string, len(chosen)), make([]error, len(chosen))
	together(len(chosen), func(worker, i int) {
		if sites[worker] == nil {
			if sites[worker], errs[i] = newSite(p, c); errs[i] != nil {
				return
			}
		}
		wrong[i], errs[i] = try(sites[worker], chosen[i])
		if errors.Is(errs[i], errMissed) && p.points > 0 {
			chosen[i].way = 0 // which all calls have
			wrong[i], errs[i] = try(sites[worker], chosen[i])
		}
	})
	r.points = len(chosen)
	for i := range wrong {
		r.wrong = append(r.wrong, wrong[i]...)
		switch {
		case errors.Is(errs[i], errMissed):
			r.points--
		case errs[i] != nil:
			return r, errs[i]
		}
	}
	return r, nil
}

// points counts the calls of a verb, plugin by plugin.
func (s *site) points(verb string, counts func(call) bool) (all []point, err error) {
	var prev json.RawMessage
	try := func(v string, k int) error {
		o, err := s.call(v, k, prev, strike{counts: counts})
		if err == nil {
			err = s.said(v, k, o)
		}
		if v == verb && k >= s.chain.first {
			for i := range o.calls {
				all = append(all, point{plugin: k, call: i + 1})
			}
		}
		if v == "ADD" {
			prev = json.RawMessage(o.stdout)
		}
		return err
	}
	for k := range s.confs {
		if err := try("ADD", k); err != nil {
			return nil, err
		}
	}
	for k := range s.confs {
		if verb != "GC" {
			break
		}
		if err := try("GC", k); err != nil {
			return nil, err
		}
	}
	for k := range slices.Backward(s.confs) {
		if err := try("DEL", k); err != nil {
			return nil, err
		}
	}
	return all, nil
}

// kill kills the plugin of a number at one of its calls, for each way to go on.
func (s *site) kill(verb string, at point) (wrong []string, err error) {
	for _, next := range aftermaths {
		if next.name == "ADD again in a new namespace" && s.chain.once {
			continue
		}
		struck, err := s.killOnce(verb, at)
		if err != nil {
			return wrong, err
		}
		if struck == "" {
			return wrong, errMissed
		}
		errs, err := next.do(s)
		if err != nil {
			return wrong, err
		}
		if len(errs) > 0 {
			wrong = append(wrong, fmt.Sprintf("%s of %s killed at call %d (%s), then %s: %s", verb, s.confs[at.plugin]["type"], at.call, struck, next.name, strings.Join(errs, "; ")))
			if err := s.renew(); err != nil {
				return wrong, err
			}
		}
	}
	return wrong, nil
}

// killOnce is struck at nothing where it has fewer calls than that, and has then taken away what it has made.
func (s *site) killOnce(verb string, at point) (struck string, err error) {
	prev, err := s.approach(verb, at.plugin)
	if err != nil {
		return "", err
	}
	o, err := s.call(verb, at.plugin, prev, strike{counts: changing, at: at.call, maker: at.way == 1})
	if err != nil || len(o.struck) == 0 {
		return "", errors.Join(err, s.all("DEL", nil))
	}
	return o.struck[0], nil
}

// approach does what comes before a verb of the plugin of a number.
func (s *site) approach(verb string, k int) (prev json.RawMessage, err error) {
	if err := s.begin(); err != nil {
		return nil, err
	}
	if verb == "ADD" {
		return s.add(0, k, nil)
	}
	if prev, err = s.addAll(); err != nil {
		return nil, err
	}
	if verb == "GC" {
		s.collected = true
		return nil, s.each("GC", 0, k, nil)
	}
	return prev, s.each("DEL", k+1, len(s.confs), prev)
}

// aftermaths are the ways to go on after a kill. Each ends with nothing attached.
var aftermaths = []struct {
	name string
	do   func(*site) (wrong []string, err error)
}{
	{"DEL", func(s *site) ([]string, error) { return s.cleared(s.all("DEL", nil)) }},
	{"GC", (*site).collect},
	{"ADD again", func(s *site) ([]string, error) { return s.again() }},
	{"ADD again in a new namespace", func(s *site) ([]string, error) {
		if err := s.newPod(); err != nil {
			return nil, err
		}
		return s.again()
	}},
}

// collect is what is left after a GC on the node, or why it was none.
func (s *site) collect() ([]string, error) {
	gc := s.all("GC", nil)
	left, err := s.left(s.before, false)
	if gc != nil {
		left = append(left, gc.Error())
	}
	if err != nil || len(left) > 0 {
		return left, err
	}
	return nil, s.newPod()
}

// again attaches once more, which is to work, and detaches.
func (s *site) again() ([]string, error) {
	result, err := s.addAll()
	if err != nil {
		return []string{err.Error()}, nil
	}
	if err := s.all("CHECK", result); err != nil {
		return []string{err.Error()}, nil
	}
	return s.cleared(s.all("DEL", result))
}

// cleared is what is left after a DEL, or why it was none.
func (s *site) cleared(del error) (wrong []string, err error) {
	left, err := s.left(s.before, !s.collected)
	if del != nil {
		left = append(left, del.Error())
	}
	if err == nil && s.collected {
		err = s.newPod()
	}
	return left, err
}
