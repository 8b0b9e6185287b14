package forward

import (
	"cmp"
	"fmt"
	"os"
	"runtime/debug"
	"strings"
	"time"

	"logmule/queue"
	"logmule/recovery"
)

// Status is the state of the engine at one moment, as /status prints it. Counters count since the start of the process.
type Status struct {
	Version       string         `json:"version"`
	PID           int            `json:"pid"`
	UptimeSeconds float64        `json:"uptime_seconds"`
	State         string         `json:"state"`            // starting, ready, blocked or stopping
	Reason        string         `json:"reason,omitempty"` // why it is not ready
	Healthy       bool           `json:"healthy"`
	Panics        string         `json:"panics,omitempty"` // why it is not healthy
	Config        ConfigStatus   `json:"configuration"`
	Queue         QueueStatus    `json:"queue"`
	DeadLetters   LetterStatus   `json:"dead_letters"`
	Inputs        []InputStatus  `json:"inputs"`
	Outputs       []OutputStatus `json:"outputs"`
	Leaving       []string       `json:"leaving,omitempty"` // inputs and outputs that a reload has ended and that have not stopped yet
}

// States of the engine.
const (
	engineStarting = "starting" // some input does not listen
	engineReady    = "ready"
	engineBlocked  = "blocked" // the queue takes nothing
	engineStopping = "stopping"
)

// ConfigStatus says which configuration is in force.
type ConfigStatus struct {
	File          string    `json:"file"` // or "quick start"
	LoadedAt      time.Time `json:"loaded_at"`
	Reloads       uint64    `json:"reloads"`
	FailedReloads uint64    `json:"failed_reloads"`
	Error         string    `json:"error,omitempty"` // why the last reload failed
}

// QueueStatus is the state of the queue. It is empty but for Dir until the queue has recovered.
type QueueStatus struct {
	Dir              string                 `json:"dir"`
	ID               string                 `json:"id"`
	Epoch            string                 `json:"epoch"` // start counter and random number of this start
	Mark             uint64                 `json:"mark"`  // last sequence known to be on stable storage
	First            uint64                 `json:"first"` // oldest retained sequence
	Next             uint64                 `json:"next"`  // sequence of the next record
	Segments         int                    `json:"segments"`
	Bytes            int64                  `json:"bytes"`     // of all segments
	MaxBytes         int64                  `json:"max_bytes"` // max_size
	Full             *FullStatus            `json:"full,omitempty"`
	Fault            string                 `json:"fault,omitempty"` // why the disk takes nothing
	AppendedRecords  uint64                 `json:"appended_records"`
	AppendedBytes    uint64                 `json:"appended_bytes"` // bodies, before compression
	StoredBytes      uint64                 `json:"stored_bytes"`   // frames
	Syncs            uint64                 `json:"syncs"`
	SyncSeconds      float64                `json:"sync_seconds"`
	SyncErrors       uint64                 `json:"sync_errors"`
	CheckpointSaves  uint64                 `json:"checkpoint_saves"`
	CheckpointFails  uint64                 `json:"checkpoint_errors"`
	SealErrors       uint64                 `json:"seal_errors"`
	DroppedOldest    uint64                 `json:"dropped_oldest_records"`
	DroppedNewest    uint64                 `json:"dropped_newest_records"`
	Damaged          uint64                 `json:"damaged_records"`       // found damaged while reading
	LedgerRecords    uint64                 `json:"ledger_records"`        // in the loss ledger, of all times
	Losses           []recovery.CauseLosses `json:"losses"`                // what the loss ledger tells of, by cause
	TornTailBytes    int64                  `json:"start_torn_tail_bytes"` // what this start found
	HealedBytes      int64                  `json:"start_healed_bytes"`
	Quarantined      int64                  `json:"start_quarantined_bytes"`
	LostAtStart      uint64                 `json:"start_lost_records"`
	HealedSegments   uint64                 `json:"healed_segments"`       // made good on the disk since the start
	HealedSince      uint64                 `json:"healed_bytes"`          // what of them
	HealErrors       uint64                 `json:"heal_errors"`           // healings that had to wait
	ScrubbedBytes    uint64                 `json:"scrubbed_bytes"`        // read and checked by the scrubber
	ScrubbedAt       *time.Time             `json:"scrubbed_at,omitempty"` // when its last full pass ended
	ScrubAge         *float64               `json:"scrub_age_seconds,omitempty"`
	QuarantineFiles  int                    `json:"quarantine_files"`
	QuarantineBytes  int64                  `json:"quarantine_bytes"`         // that they take; they count in max_size
	QuarantineDrops  uint64                 `json:"quarantine_dropped_files"` // damaged segments that had been healed
	KeptBytes        int64                  `json:"kept_bytes"`               // of segments that every output has done
	Sources          int                    `json:"source_positions"`         // sources that the queue keeps a position of
	Forgotten        uint64                 `json:"forgotten_outputs"`
	ForgottenRecords uint64                 `json:"forgotten_records"`          // that these had not done
	Detached         []string               `json:"detached_outputs,omitempty"` // known outputs that are not configured; their records are held
	Holding          []Holding              `json:"holding,omitempty"`          // what they hold, and for how long
}

// Holding is an output that is not configured and still holds records.
type Holding struct {
	Output         string  `json:"output"`
	BacklogRecords uint64  `json:"backlog_records"`
	BacklogBytes   int64   `json:"backlog_bytes"`
	ForgottenIn    float64 `json:"forgotten_in_seconds"` // of running time; 0: never
}

// FullStatus says since when the queue is full, why, and what is done about it.
type FullStatus struct {
	Since    time.Time `json:"since"`
	Reason   string    `json:"reason"`
	WhenFull string    `json:"when_full"`
}

// PluginStatus is what inputs and outputs have in common.
type PluginStatus struct {
	Name        string     `json:"name"`
	Type        string     `json:"type"`
	State       string     `json:"state"`
	Records     uint64     `json:"records"` // accepted from the source, or by the destination
	Bytes       uint64     `json:"bytes"`
	Panics      uint64     `json:"panics"`
	LastError   string     `json:"last_error,omitempty"`
	LastErrorAt *time.Time `json:"last_error_at,omitempty"`
	NextRetry   *time.Time `json:"next_retry_at,omitempty"`
}

// InputStatus is the state of an input.
type InputStatus struct {
	PluginStatus
	Address          string `json:"address,omitempty"`
	Connections      int64  `json:"connections"`
	Refused          uint64 `json:"refused_connections"`
	Broken           uint64 `json:"broken_connections"`
	RejectedRequests uint64 `json:"rejected_requests"`
	Unauthorized     uint64 `json:"unauthorized_requests"`
	RepeatedRequests uint64 `json:"repeated_requests"`
	Truncated        uint64 `json:"truncated_records"`
	TooLarge         uint64 `json:"too_large_records"`
	Unfinished       uint64 `json:"unfinished_records"`
	BadFrames        uint64 `json:"bad_frames"`
	DecodeErrors     uint64 `json:"decode_errors"`
	Dropped          uint64 `json:"dropped_datagrams"`
	Rebinds          uint64 `json:"rebinds"`
	FilesKnown       int64  `json:"files_known"`
	FilesOpen        int64  `json:"files_open"`
	Rotations        uint64 `json:"file_rotations"`
	Truncations      uint64 `json:"file_truncations"`
	FileErrors       uint64 `json:"file_errors"`
	LostBytes        uint64 `json:"file_lost_bytes"`
	EncodingErrors   uint64 `json:"encoding_errors"`
	Restarts         uint64 `json:"restarts"`
}

// OutputStatus is the state of an output.
type OutputStatus struct {
	PluginStatus
	Position       uint64  `json:"position"` // every record before this sequence is done
	BacklogRecords uint64  `json:"backlog_records"`
	BacklogBytes   int64   `json:"backlog_bytes"` // stored, estimated
	LagSeconds     float64 `json:"lag_seconds"`   // age of the oldest record that is not done
	Requests       uint64  `json:"requests"`
	Errors         uint64  `json:"errors"` // failed requests
	Retries        uint64  `json:"retries"`
	Reconnects     uint64  `json:"reconnects"`
	ResentBytes    uint64  `json:"resent_bytes"`
	CutBytes       uint64  `json:"cut_bytes"`
	DeadLetters    uint64  `json:"dead_letters"`
	Lost           uint64  `json:"lost_records"`     // dropped or destroyed before it could be given them
	Filtered       uint64  `json:"filtered_records"` // not meant for the output, says from or match
	MatchErrors    uint64  `json:"match_errors"`     // records for which match has failed; they are filtered out
	Shed           uint64  `json:"shed_records"`     // given up because the backlog grew over max_backlog
}

// Status gathers the state. It may be called at any time.
func (e *Engine) Status() any { return e.status() }

// Report is the state as a page for a person.
func (e *Engine) Report() string { return e.status().String() }

func (e *Engine) status() Status {
	state, reason := e.state()
	s := Status{
		Version: version(), PID: os.Getpid(), UptimeSeconds: time.Since(e.started).Seconds(), State: state, Reason: reason,
		Queue: QueueStatus{Dir: e.settings.Load().DataDir}, DeadLetters: e.dead.status(e.settings.Load()), Inputs: []InputStatus{}, Outputs: []OutputStatus{},
	}
	s.Healthy, s.Panics = e.Healthy()
	s.Config = ConfigStatus{File: e.settings.Load().File(), Reloads: e.reloads.ok.Load(), FailedReloads: e.reloads.failed.Load()}
	s.Config.LoadedAt, s.Config.Error = e.reloads.state()
	for _, l := range e.leaving.left() {
		s.Leaving = append(s.Leaving, l.who)
	}
	attached := map[string]queue.OutputStatus{}
	if q := e.queue.Load(); q != nil {
		now := q.Status()
		s.Queue = queueStatus(q, now)
		for _, o := range now.Outputs {
			attached[o.Name] = o
			if !o.Attached {
				s.Queue.Detached = append(s.Queue.Detached, o.Name)
				s.Queue.Holding = append(s.Queue.Holding, Holding{
					Output: o.Name, BacklogRecords: o.BacklogRecords, BacklogBytes: o.BacklogBytes, ForgottenIn: o.ForgottenIn.Seconds(),
				})
			}
		}
	}
	now := e.roster.Load()
	for _, in := range now.sources {
		s.Inputs = append(s.Inputs, in.status())
	}
	for _, c := range now.consumers {
		s.Outputs = append(s.Outputs, c.status(attached[c.name]))
	}
	return s
}

func queueStatus(q *queue.Queue, now queue.Status) QueueStatus {
	epoch, start := q.Epoch(), q.Recovered()
	s := QueueStatus{
		Dir: now.Dir, ID: q.ID().String(), Epoch: fmt.Sprintf("%d.%016x", epoch.Starts, epoch.Random),
		Mark: now.Mark, First: now.First, Next: now.Next, Segments: now.Segments, Bytes: now.Bytes, MaxBytes: now.MaxSize, Fault: cmp.Or(now.Fault, now.Stall),
		AppendedRecords: now.Records, AppendedBytes: now.RawBytes, StoredBytes: now.StoredBytes,
		Syncs: now.Syncs, SyncSeconds: now.SyncTime.Seconds(), SyncErrors: now.SyncErrors,
		CheckpointSaves: now.Saves, CheckpointFails: now.SaveErrors, SealErrors: now.SealErrors,
		DroppedOldest: now.DroppedOldest, DroppedNewest: now.DroppedNewest, Damaged: now.Damaged, LedgerRecords: now.LedgerRecords, Losses: append([]recovery.CauseLosses{}, now.Losses...),
		KeptBytes: now.KeptBytes, Sources: now.Sources, Forgotten: now.Forgotten, ForgottenRecords: now.ForgottenRecords,
		TornTailBytes: start.TornTailBytes, HealedBytes: start.HealedBytes, Quarantined: start.QuarantinedBytes, LostAtStart: start.LostRecords,
	}
	s.HealedSegments, s.HealedSince, s.HealErrors, s.ScrubbedBytes = now.Healed, now.HealedBytes, now.HealErrors, now.ScrubbedBytes
	s.QuarantineFiles, s.QuarantineBytes, s.QuarantineDrops = now.Quarantine, now.QuarantineBytes, now.Tidied
	if at := now.Scrubbed; !at.IsZero() {
		age := max(time.Since(at).Seconds(), 0)
		s.ScrubbedAt, s.ScrubAge = &at, &age
	}
	s.Full = fullStatus(now)
	return s
}

func fullStatus(now queue.Status) *FullStatus {
	if !now.Full {
		return nil
	}
	return &FullStatus{Since: now.FullSince, Reason: now.FullWhy, WhenFull: now.WhenFull.String()}
}

func (p *plugin) status() PluginStatus {
	s := PluginStatus{Name: p.name, Type: p.kind}
	s.Panics, _, _ = p.panics.state()
	p.mu.Lock()
	defer p.mu.Unlock()
	now := p.shown()
	s.State, s.LastError = now.state, p.mu.lastError
	if at := p.mu.lastAt; !at.IsZero() {
		s.LastErrorAt = &at
	}
	if at := now.nextRetry; !at.IsZero() {
		s.NextRetry = &at
	}
	return s
}

func (s *source) status() InputStatus {
	c := &s.counters
	st := InputStatus{
		PluginStatus: s.plugin.status(), Connections: c.Connections.Load(), Refused: c.Refused.Load(), Broken: c.Broken.Load(),
		BadFrames: c.BadFrames.Load(), DecodeErrors: c.DecodeErrors.Load(), Dropped: c.Dropped.Load(), Rebinds: c.Rebinds.Load(),
		RejectedRequests: c.RejectedRequests.Load(), Unauthorized: c.Unauthorized.Load(), RepeatedRequests: c.RepeatedRequests.Load(),
		Truncated: c.Truncated.Load(), TooLarge: c.TooLarge.Load(), Unfinished: c.Unfinished.Load(), Restarts: s.restarts.Load(),
	}
	st.Records, st.Bytes = s.ingest.records.Load(), s.ingest.bytes.Load()
	st.Panics += c.Panics.Load()
	files := &c.Files
	st.FilesKnown, st.FilesOpen, st.FileErrors = files.Known.Load(), files.Open.Load(), files.ReadErrors.Load()
	st.Rotations, st.Truncations = files.Rotations.Load(), files.Truncations.Load()
	st.LostBytes, st.EncodingErrors = files.LostBytes.Load(), files.EncodingErrors.Load()
	if address := s.address.Load(); address != nil {
		st.Address = *address
	}
	return st
}

func (c *consumer) status(at queue.OutputStatus) OutputStatus {
	n := &c.counters
	s := OutputStatus{
		PluginStatus: c.plugin.status(), Position: at.Floor, BacklogRecords: at.BacklogRecords, BacklogBytes: at.BacklogBytes,
		Requests: n.Requests.Load(), Errors: n.Errors.Load(), Retries: c.retries.Load(), Reconnects: n.Reconnects.Load(),
		ResentBytes: n.Resent.Load(), CutBytes: n.CutBytes.Load(), DeadLetters: c.deadLettered.Load(), Lost: at.Lost, Shed: at.Shed,
		Filtered: c.feed.route.passed.Load(), MatchErrors: c.feed.route.failed.Load(),
	}
	s.Records, s.Bytes = c.records.Load(), n.BytesSent.Load()
	if at.BacklogRecords > 0 && !at.Oldest.IsZero() {
		s.LagSeconds = max(0, time.Since(at.Oldest).Seconds())
	}
	return s
}

// state is the state of the engine and, where that is not ready, why.
func (e *Engine) state() (state, reason string) {
	if e.stopping.Load() {
		return engineStopping, "stopping"
	}
	q := e.queue.Load()
	if q == nil {
		return engineStarting, "starting: the queue recovers"
	}
	blocked := blockage(q.Status())
	switch absent := e.absent(); {
	case absent != nil && blocked != "":
		return engineStarting, absent.absence() + "; " + blocked // perhaps it waits for that
	case absent != nil:
		return engineStarting, absent.absence()
	case blocked != "":
		return engineBlocked, blocked
	}
	return engineReady, ""
}

// blockage says why a queue keeps inputs waiting; empty: it does not.
func blockage(now queue.Status) string {
	switch {
	case now.Fault != "" || now.Stall != "":
		return "the disk takes no data: " + cmp.Or(now.Fault, now.Stall)
	case now.Full && now.WhenFull == queue.Block:
		return now.FullWhy
	}
	return ""
}

// absent is an input that does not listen; nil: they all do.
func (e *Engine) absent() *source {
	for _, in := range e.roster.Load().sources {
		if !in.listens.Load() {
			return in
		}
	}
	return nil
}

// absence says why the input does not listen.
func (s *source) absence() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.mu.lastError == "" {
		return fmt.Sprintf("input %s does not listen yet", s.name)
	}
	return fmt.Sprintf("input %s does not listen: %s", s.name, s.mu.lastError)
}

// Ready says whether every input listens and the queue takes records; if not, the text says why not.
func (e *Engine) Ready() (bool, string) {
	state, reason := e.state()
	return state == engineReady, reason
}

// Healthy says whether no plugin panics over and over; if one does, the text names it.
func (e *Engine) Healthy() (bool, string) {
	var sick []string
	note := func(side string, p *plugin) {
		if total, is, text := p.panics.state(); is {
			sick = append(sick, fmt.Sprintf("%s %s panics again and again, %d times so far: %s", side, p.name, total, text))
		}
	}
	for _, in := range e.roster.Load().sources {
		note("input", in.plugin)
	}
	for _, c := range e.roster.Load().consumers {
		note("output", c.plugin)
	}
	return len(sick) == 0, strings.Join(sick, "\n")
}

// version is that of the module which the binary was built from.
func version() string {
	if info, ok := debug.ReadBuildInfo(); ok && info.Main.Version != "" {
		return info.Main.Version
	}
	return "unknown"
}
