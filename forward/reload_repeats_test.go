package forward

import (
	"testing"
	"testing/synctest"

	"logmule/forward/config"
	"logmule/forward/input"
)

// TestReloadForgetsNoRepeats: an input that a reload builds anew knows which requests the one before has stored, and
// nothing of those of others.
func TestReloadForgetsNoRepeats(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		r.reloadable()
		known := map[string][]*input.Repeats{}
		for _, name := range []string{"in", "other"} {
			r.inputs[name] = func(env input.Env) (input.Input, error) {
				known[name] = append(known[name], env.Repeats)
				return (&tap{env: env, up: make(chan struct{})}), nil
			}
		}
		r.outputs["out"] = new(sink).build
		r.cfg.Inputs, r.cfg.Outputs = sections("in", "other"), sections("out")
		r.start()
		r.reload(func(c *config.Config) { c.Inputs = sections("changed:in", "other") })
		r.mustStop()
		if n := len(known["in"]); n < 2 || known["in"][0] == nil || known["in"][0] != known["in"][n-1] || known["in"][0] == known["other"][0] {
			t.Errorf("known before and after: %v", known)
		}
	})
}
