package forward

import (
	"errors"
	"fmt"
	"slices"

	"logmule/forward/config"
	"logmule/forward/match"
	"logmule/queue"
)

// mostInFlight bounds in_flight: each request holds a batch in memory.
const mostInFlight = 64

// OutputKeys are the keys that every output has besides those of its kind.
type OutputKeys struct {
	Match      string       `toml:"match" doc:"which records the output takes: an expression over type, logger, severity, payload, hostname, pid, timestamp and fields[\"name\"]; empty: all"`
	From       []string     `toml:"from" doc:"names of the inputs whose records the output takes; empty: all inputs"`
	MaxBacklog config.Bytes `toml:"max_backlog" doc:"bytes that may wait for the output before the oldest are dropped for it; 0: only the limits of the queue"`
	RateLimit  config.Bytes `toml:"rate_limit" doc:"bytes of records a second that the output sends at most; 0: no limit"`
	InFlight   int          `toml:"in_flight" doc:"requests that may be under way at once, 1 to 64; above 1 the order of records is not kept, and only http can do it"`
	StartAt    string       `toml:"start_at" doc:"where an output begins that the queue has never seen: \"oldest\" (retained record) or \"end\" (what comes from now on)"`
}

// NewOutputKeys returns the defaults.
func NewOutputKeys() *OutputKeys { return &OutputKeys{InFlight: 1, StartAt: "oldest"} }

// check judges the values that can be judged without knowing the kind. inputs are the names of those configured.
func (k *OutputKeys) check(inputs []string) []error {
	var errs []error
	if k.InFlight < 1 || k.InFlight > mostInFlight {
		errs = append(errs, fmt.Errorf("in_flight = %d is out of range; use 1 to %d", k.InFlight, mostInFlight))
	}
	for _, name := range k.From {
		if !slices.Contains(inputs, name) {
			errs = append(errs, fmt.Errorf("from names %q, which is no configured input%s; use the NAME of an [input.NAME]", name, config.Suggest(name, inputs)))
		}
	}
	_, err := k.start()
	return append(errs, err)
}

// compile is match, compiled; nil: all records.
func (k *OutputKeys) compile() (*match.Match, error) {
	if k.Match == "" {
		return nil, nil
	}
	return match.Compile(k.Match)
}

// start is start_at as the queue has it.
func (k *OutputKeys) start() (queue.StartAt, error) {
	switch k.StartAt {
	case "oldest", "beginning":
		return queue.Oldest, nil
	case "end":
		return queue.Newest, nil
	}
	return queue.Oldest, fmt.Errorf("start_at = %q is not known%s; use %q or %q", k.StartAt, config.Suggest(k.StartAt, []string{"oldest", "end"}), "oldest", "end")
}

// errOrder is why a kind of output cannot have several requests under way.
var errOrder = errors.New("in_flight above 1 is not for this type, which has one connection or file and keeps the order of records in it; remove in_flight, or use type = \"http\"")
