package forward

import (
	"errors"
	"slices"
	"strings"

	"logmule/forward/config"
)

// prober is an input or output that can tell without side effects whether it has on this machine what it names: its
// certificate files. The error begins with the key that names what is missing.
type prober interface{ Probe() error }

// addressProber is an input that can try whether its address is free, by listening there for a moment.
type addressProber interface{ ProbeAddress() error }

// Probe tells which of the files that a configuration names cannot be used on this machine: those that would make it
// fail at its start. The configuration is one that Check finds nothing wrong with.
func Probe(cfg *config.Config) error {
	e, err := New(cfg, Options{})
	if err != nil {
		return err
	}
	return contain(func() error { return e.probe(new(roster), e.roster.Load()) })
}

// probe tries what can be tried for those in next who are new or have changed, before anything of now is touched.
func (e *Engine) probe(now, next *roster) error {
	var did changes
	var errs []error
	for _, in := range compare(&did, now.sources, slices.Clone(next.sources)) {
		if p, ok := in.built.(prober); ok {
			errs = append(errs, in.section.Place(p.Probe()))
		}
	}
	for _, out := range compare(&did, now.consumers, slices.Clone(next.consumers)) {
		if p, ok := out.built.(prober); ok {
			errs = append(errs, out.section.Place(p.Probe()))
		}
	}
	return config.Join(errs...)
}

// probeAddresses tries whether the addresses are free that next wants and now does not use.
func (e *Engine) probeAddresses(now, next *roster) error {
	var did changes
	var errs []error
	for _, in := range compare(&did, now.sources, slices.Clone(next.sources)) {
		if p, ok := in.built.(addressProber); ok && in.claim != "" && !e.uses(now, in.claim) {
			errs = append(errs, in.section.Place(p.ProbeAddress()))
		}
	}
	return config.Join(errs...)
}

// uses tells whether this process itself listens on the port of a claim, or has not given it back yet.
func (e *Engine) uses(now *roster, claim string) bool {
	for held := range now.claims {
		if samePort(held, claim) {
			return true
		}
	}
	return slices.ContainsFunc(e.leaving.left(), func(s *stay) bool { return samePort(s.claim, claim) })
}

// samePort tells whether two claims of addresses are about one port, on whichever addresses.
func samePort(a, b string) bool {
	kind := func(claim string) string { return claim[:strings.Index(claim, "address ")+1] }
	port := func(claim string) string { return claim[strings.LastIndexByte(claim, ':')+1:] }
	return strings.Contains(a, "address ") && strings.Contains(b, "address ") && kind(a) == kind(b) && port(a) == port(b)
}

// judge says whether a configuration that was read can take the place of the one in force, on this machine.
func (e *Engine) judge(next *roster) error {
	now := e.roster.Load()
	return errors.Join(e.probe(now, next), e.probeAddresses(now, next))
}
