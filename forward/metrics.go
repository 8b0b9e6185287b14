package forward

import "github.com/prometheus/client_golang/prometheus"

// metric is one line of docs/metrics.md. Its value comes from a Status or a part of one, so that metrics and /status
// never disagree.
type metric[S any] struct {
	desc  *prometheus.Desc
	kind  prometheus.ValueType
	value func(*S) float64
}

func counter[S any](name, help string, labels []string, value func(*S) float64) metric[S] {
	return metric[S]{prometheus.NewDesc("logmule_"+name, help, labels, nil), prometheus.CounterValue, value}
}

func gauge[S any](name, help string, labels []string, value func(*S) float64) metric[S] {
	return metric[S]{prometheus.NewDesc("logmule_"+name, help, labels, nil), prometheus.GaugeValue, value}
}

func (m metric[S]) send(to chan<- prometheus.Metric, s *S, labels ...string) {
	to <- prometheus.MustNewConstMetric(m.desc, m.kind, m.value(s), labels...)
}

// scrubAge is -1 where there is none: a gauge that says 0 would be a good one.
func scrubAge(q *QueueStatus) float64 {
	if q.ScrubAge == nil {
		return -1
	}
	return *q.ScrubAge
}

func flag(b bool) float64 {
	if b {
		return 1
	}
	return 0
}

var (
	byVersion = []string{"version"}
	byReason  = []string{"reason"}
	byResult  = []string{"result"}
	byInput   = []string{"input"}
	byOutput  = []string{"output"}
)

// The tables of metrics; read-only.
var (
	infoMetric = gauge("info", "Always 1; the version of the running program is its label.", byVersion, func(*Status) float64 { return 1 })

	engineMetrics = []metric[Status]{
		gauge("ready", "1 while every input listens and the queue takes records, as /readyz.", nil, func(s *Status) float64 { return flag(s.State == engineReady) }),
		gauge("healthy", "1 while no plugin panics over and over, as /healthz.", nil, func(s *Status) float64 { return flag(s.Healthy) }),
		gauge("configuration_loaded_seconds", "When the configuration in force was read, in seconds since 1970.", nil, func(s *Status) float64 { return float64(s.Config.LoadedAt.UnixMilli()) / 1000 }),
	}

	reloadsDesc    = prometheus.NewDesc("logmule_reloads_total", "Reloads of the configuration, by result: ok or failed. A failed one changed nothing.", byResult, nil)
	reloadsMetrics = map[string]func(*Status) float64{
		"ok":     func(s *Status) float64 { return float64(s.Config.Reloads) },
		"failed": func(s *Status) float64 { return float64(s.Config.FailedReloads) },
	}

	queueMetrics = []metric[QueueStatus]{
		counter("queue_appended_records_total", "Records appended to the queue and written.", nil, func(q *QueueStatus) float64 { return float64(q.AppendedRecords) }),
		counter("queue_appended_bytes_total", "Bytes of those records, before compression.", nil, func(q *QueueStatus) float64 { return float64(q.AppendedBytes) }),
		counter("queue_stored_bytes_total", "Bytes of their frames as written.", nil, func(q *QueueStatus) float64 { return float64(q.StoredBytes) }),
		gauge("queue_size_bytes", "Bytes of all segments on the disk.", nil, func(q *QueueStatus) float64 { return float64(q.Bytes) }),
		gauge("queue_limit_bytes", "Largest size of the queue, max_size.", nil, func(q *QueueStatus) float64 { return float64(q.MaxBytes) }),
		gauge("queue_segments", "Segments on the disk.", nil, func(q *QueueStatus) float64 { return float64(q.Segments) }),
		gauge("queue_mark_sequence", "Last sequence known to be on stable storage.", nil, func(q *QueueStatus) float64 { return float64(q.Mark) }),
		gauge("queue_next_sequence", "Sequence of the next record.", nil, func(q *QueueStatus) float64 { return float64(q.Next) }),
		gauge("queue_full", "1 while the queue is full; when_full says what happens then.", nil, func(q *QueueStatus) float64 { return flag(q.Full != nil) }),
		gauge("queue_fault", "1 while the disk refuses data, or has not answered for five seconds.", nil, func(q *QueueStatus) float64 { return flag(q.Fault != "") }),
		counter("queue_syncs_total", "Syncs of segments to stable storage.", nil, func(q *QueueStatus) float64 { return float64(q.Syncs) }),
		counter("queue_sync_seconds_total", "Time spent in them.", nil, func(q *QueueStatus) float64 { return q.SyncSeconds }),
		counter("queue_sync_errors_total", "Syncs that failed; the records went to a new segment.", nil, func(q *QueueStatus) float64 { return float64(q.SyncErrors) }),
		counter("queue_checkpoint_saves_total", "Saves of output positions.", nil, func(q *QueueStatus) float64 { return float64(q.CheckpointSaves) }),
		counter("queue_checkpoint_errors_total", "Saves that failed and were tried again.", nil, func(q *QueueStatus) float64 { return float64(q.CheckpointFails) }),
		counter("queue_seal_errors_total", "Segments left without a trailer until the next start.", nil, func(q *QueueStatus) float64 { return float64(q.SealErrors) }),
		gauge("queue_ledger_records", "Lost records in the loss ledger, of all times, without those that max_backlog dropped for one output.", nil, func(q *QueueStatus) float64 { return float64(q.LedgerRecords) }),
		counter("queue_healed_segments_total", "Damaged segments made good on the disk, by a reader or the scrubber.", nil, func(q *QueueStatus) float64 { return float64(q.HealedSegments) }),
		counter("queue_healed_bytes_total", "Bytes of them that were.", nil, func(q *QueueStatus) float64 { return float64(q.HealedSince) }),
		counter("queue_heal_errors_total", "Healings that had to wait, for room or for bytes that the disk does not give; what can be healed is read meanwhile.", nil, func(q *QueueStatus) float64 { return float64(q.HealErrors) }),
		counter("queue_scrubbed_bytes_total", "Bytes of segments read and checked by the scrubber.", nil, func(q *QueueStatus) float64 { return float64(q.ScrubbedBytes) }),
		gauge("queue_scrub_age_seconds", "Time since the last full pass of the scrubber ended; -1 when none has since the start.", nil, scrubAge),
		gauge("queue_quarantine_files", "Files in quarantine.", nil, func(q *QueueStatus) float64 { return float64(q.QuarantineFiles) }),
		gauge("queue_quarantine_bytes", "Bytes that they take, which count in max_size.", nil, func(q *QueueStatus) float64 { return float64(q.QuarantineBytes) }),
		counter("queue_quarantine_dropped_files_total", "Damaged segments dropped from quarantine for want of room; each had been healed, so nothing is lost with them.", nil, func(q *QueueStatus) float64 { return float64(q.QuarantineDrops) }),
		gauge("queue_kept_bytes", "Bytes of segments that every output has done, kept by keep_for or keep_size.", nil, func(q *QueueStatus) float64 { return float64(q.KeptBytes) }),
		gauge("queue_source_positions", "Sources, such as files, that the queue keeps a position of.", nil, func(q *QueueStatus) float64 { return float64(q.Sources) }),
		counter("queue_forgotten_outputs_total", "Outputs forgotten because they were not configured for forget_after.", nil, func(q *QueueStatus) float64 { return float64(q.Forgotten) }),
		counter("queue_forgotten_records_total", "Records that these had not done.", nil, func(q *QueueStatus) float64 { return float64(q.ForgottenRecords) }),
		gauge("start_torn_tail_bytes", "Torn tail that this start cut off.", nil, func(q *QueueStatus) float64 { return float64(q.TornTailBytes) }),
		gauge("start_healed_bytes", "Bytes that this start healed from parity.", nil, func(q *QueueStatus) float64 { return float64(q.HealedBytes) }),
		gauge("start_quarantined_bytes", "Damaged bytes that this start set aside.", nil, func(q *QueueStatus) float64 { return float64(q.Quarantined) }),
		gauge("start_lost_records", "Records that this start found lost.", nil, func(q *QueueStatus) float64 { return float64(q.LostAtStart) }),
	}

	lostDesc    = prometheus.NewDesc("logmule_queue_lost_records_total", "Records lost since the start, by reason: drop_oldest, drop_newest or damage.", byReason, nil)
	lostMetrics = map[string]func(*QueueStatus) float64{
		"drop_oldest": func(q *QueueStatus) float64 { return float64(q.DroppedOldest) },
		"drop_newest": func(q *QueueStatus) float64 { return float64(q.DroppedNewest) },
		"damage":      func(q *QueueStatus) float64 { return float64(q.Damaged) },
	}

	ledgerDesc = prometheus.NewDesc("logmule_queue_ledger_cause_records", "Records in the loss ledger, of all times, by cause and by whether their source had been told that they are safe: yes, no or unknown.", []string{"cause", "acknowledged"}, nil)

	letterMetrics = []metric[LetterStatus]{
		gauge("deadletter_records", "Dead letters that are stored and not put back yet.", nil, func(d *LetterStatus) float64 { return float64(d.Records - d.Replayed) }),
		gauge("deadletter_size_bytes", "Bytes of the segments of the dead-letter queue.", nil, func(d *LetterStatus) float64 { return float64(d.Bytes) }),
		gauge("deadletter_limit_bytes", "Largest size of the dead-letter queue, max_size.", nil, func(d *LetterStatus) float64 { return float64(d.MaxBytes) }),
		gauge("deadletter_full", "1 while there is no room for dead letters: the outputs that have some wait, unless when_full is drop_oldest.", nil, func(d *LetterStatus) float64 { return flag(d.Full != nil) }),
		gauge("deadletter_fault", "1 while the disk refuses dead letters.", nil, func(d *LetterStatus) float64 { return flag(d.Fault != "") }),
		counter("deadletter_lost_records_total", "Dead letters dropped as the oldest, as when_full says, or lost to damage.", nil, func(d *LetterStatus) float64 { return float64(d.Lost) }),
	}

	inputMetrics = []metric[InputStatus]{
		counter("input_records_total", "Records that the queue took from the input.", byInput, func(in *InputStatus) float64 { return float64(in.Records) }),
		counter("input_bytes_total", "Bytes of those records.", byInput, func(in *InputStatus) float64 { return float64(in.Bytes) }),
		gauge("input_listening", "1 while the input listens or reads.", byInput, func(in *InputStatus) float64 { return flag(in.State == stateListening) }),
		gauge("input_connections", "Open connections.", byInput, func(in *InputStatus) float64 { return float64(in.Connections) }),
		counter("input_refused_connections_total", "Connections that could not be accepted, for want of descriptors for example.", byInput, func(in *InputStatus) float64 { return float64(in.Refused) }),
		counter("input_broken_connections_total", "Connections that ended in an error.", byInput, func(in *InputStatus) float64 { return float64(in.Broken) }),
		counter("input_bad_frames_total", "Stretches of bytes thrown away because the framing allows no record there.", byInput, func(in *InputStatus) float64 { return float64(in.BadFrames) }),
		counter("input_decode_errors_total", "Records that the codec could not read, kept as they were.", byInput, func(in *InputStatus) float64 { return float64(in.DecodeErrors) }),
		counter("input_dropped_datagrams_total", "Datagrams lost: not read in time and dropped by the kernel, or not stored before the stop.", byInput, func(in *InputStatus) float64 { return float64(in.Dropped) }),
		counter("input_rebinds_total", "Times that the file of a unix socket had gone, and was made again.", byInput, func(in *InputStatus) float64 { return float64(in.Rebinds) }),
		counter("input_rejected_requests_total", "Requests answered with anything but 200.", byInput, func(in *InputStatus) float64 { return float64(in.RejectedRequests) }),
		counter("input_unauthorized_requests_total", "Those of them without the right credentials.", byInput, func(in *InputStatus) float64 { return float64(in.Unauthorized) }),
		counter("input_repeated_requests_total", "Requests answered with 200 that another one with their Idempotency-Key had stored.", byInput, func(in *InputStatus) float64 { return float64(in.RepeatedRequests) }),
		counter("input_too_large_records_total", "Records refused, and lost, because max_size is too small for them.", byInput, func(in *InputStatus) float64 { return float64(in.TooLarge) }),
		counter("input_truncated_records_total", "Records over max_record of which the head was kept.", byInput, func(in *InputStatus) float64 { return float64(in.Truncated) }),
		counter("input_unfinished_records_total", "Partial records left behind by broken connections or at the stop.", byInput, func(in *InputStatus) float64 { return float64(in.Unfinished) }),
		gauge("input_files_known", "Files whose position is known, rotated ones and those that are gone for less than a day included.", byInput, func(in *InputStatus) float64 { return float64(in.FilesKnown) }),
		gauge("input_files_open", "Files that are open.", byInput, func(in *InputStatus) float64 { return float64(in.FilesOpen) }),
		counter("input_file_rotations_total", "Files that got another name or none.", byInput, func(in *InputStatus) float64 { return float64(in.Rotations) }),
		counter("input_file_truncations_total", "Files that were cut or written anew.", byInput, func(in *InputStatus) float64 { return float64(in.Truncations) }),
		counter("input_file_errors_total", "Failures to list, open or read; what is there is read once that works again.", byInput, func(in *InputStatus) float64 { return float64(in.FileErrors) }),
		counter("input_file_lost_bytes_total", "Bytes that were seen in a file and gone before they were read.", byInput, func(in *InputStatus) float64 { return float64(in.LostBytes) }),
		counter("input_encoding_errors_total", "Characters that are not of the file's encoding, replaced.", byInput, func(in *InputStatus) float64 { return float64(in.EncodingErrors) }),
		counter("input_restarts_total", "Times the input was started again after a failure or a panic.", byInput, func(in *InputStatus) float64 { return float64(in.Restarts) }),
		counter("input_panics_total", "Panics contained.", byInput, func(in *InputStatus) float64 { return float64(in.Panics) }),
	}

	outputMetrics = []metric[OutputStatus]{
		counter("output_records_total", "Records that the destination accepted.", byOutput, func(o *OutputStatus) float64 { return float64(o.Records) }),
		counter("output_bytes_total", "Bytes of those records.", byOutput, func(o *OutputStatus) float64 { return float64(o.Bytes) }),
		gauge("output_up", "0 while the output waits to try again after a failure or a panic.", byOutput, func(o *OutputStatus) float64 { return flag(o.NextRetry == nil) }),
		gauge("output_backlog_records", "Records in the queue that are not done.", byOutput, func(o *OutputStatus) float64 { return float64(o.BacklogRecords) }),
		gauge("output_backlog_bytes", "About the bytes that they take on the disk.", byOutput, func(o *OutputStatus) float64 { return float64(o.BacklogBytes) }),
		gauge("output_lag_seconds", "Age of the oldest record that is not done.", byOutput, func(o *OutputStatus) float64 { return o.LagSeconds }),
		counter("output_requests_total", "Attempts to deliver: requests or writes.", byOutput, func(o *OutputStatus) float64 { return float64(o.Requests) }),
		counter("output_errors_total", "Attempts that failed, those to connect or to open included.", byOutput, func(o *OutputStatus) float64 { return float64(o.Errors) }),
		counter("output_retries_total", "Attempts after a back-off.", byOutput, func(o *OutputStatus) float64 { return float64(o.Retries) }),
		counter("output_reconnects_total", "Connections or files opened after the first one.", byOutput, func(o *OutputStatus) float64 { return float64(o.Reconnects) }),
		counter("output_resent_bytes_total", "Bytes sent a second time because a connection broke.", byOutput, func(o *OutputStatus) float64 { return float64(o.ResentBytes) }),
		counter("output_cut_bytes_total", "Bytes cut off a file because they are written again.", byOutput, func(o *OutputStatus) float64 { return float64(o.CutBytes) }),
		counter("output_dead_letter_records_total", "Records that the destination refused for good, stored as dead letters.", byOutput, func(o *OutputStatus) float64 { return float64(o.DeadLetters) }),
		counter("output_lost_records_total", "Records dropped or destroyed before the output was given them.", byOutput, func(o *OutputStatus) float64 { return float64(o.Lost) }),
		counter("output_filtered_records_total", "Records that are not meant for the output, as from and match say.", byOutput, func(o *OutputStatus) float64 { return float64(o.Filtered) }),
		counter("output_match_errors_total", "Records for which match failed; they are filtered out.", byOutput, func(o *OutputStatus) float64 { return float64(o.MatchErrors) }),
		counter("output_shed_records_total", "Records given up because the backlog grew over max_backlog.", byOutput, func(o *OutputStatus) float64 { return float64(o.Shed) }),
		counter("output_panics_total", "Panics contained.", byOutput, func(o *OutputStatus) float64 { return float64(o.Panics) }),
	}
)

// Describe is that of prometheus.Collector.
func (e *Engine) Describe(to chan<- *prometheus.Desc) {
	to <- infoMetric.desc
	to <- reloadsDesc
	to <- lostDesc
	to <- ledgerDesc
	for _, m := range engineMetrics {
		to <- m.desc
	}
	for _, m := range queueMetrics {
		to <- m.desc
	}
	for _, m := range letterMetrics {
		to <- m.desc
	}
	for _, m := range inputMetrics {
		to <- m.desc
	}
	for _, m := range outputMetrics {
		to <- m.desc
	}
}

// Collect is that of prometheus.Collector.
func (e *Engine) Collect(to chan<- prometheus.Metric) {
	s := e.status()
	infoMetric.send(to, &s, s.Version)
	for _, m := range engineMetrics {
		m.send(to, &s)
	}
	for result, value := range reloadsMetrics {
		to <- prometheus.MustNewConstMetric(reloadsDesc, prometheus.CounterValue, value(&s), result)
	}
	for _, m := range queueMetrics {
		m.send(to, &s.Queue)
	}
	for _, m := range letterMetrics {
		m.send(to, &s.DeadLetters)
	}
	for _, c := range s.Queue.Losses {
		to <- prometheus.MustNewConstMetric(ledgerDesc, prometheus.GaugeValue, float64(c.Records), c.Cause, c.Acknowledged)
	}
	for reason, value := range lostMetrics {
		to <- prometheus.MustNewConstMetric(lostDesc, prometheus.CounterValue, value(&s.Queue), reason)
	}
	for i := range s.Inputs {
		for _, m := range inputMetrics {
			m.send(to, &s.Inputs[i], s.Inputs[i].Name)
		}
	}
	for i := range s.Outputs {
		for _, m := range outputMetrics {
			m.send(to, &s.Outputs[i], s.Outputs[i].Name)
		}
	}
}
