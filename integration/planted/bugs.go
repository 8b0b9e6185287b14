package planted

// Bugs are those that the laboratory has to catch.
var Bugs = []Bug{
	{
		Name: "acknowledge before fdatasync", Phase: "small",
		Edits: []Edit{{"queue/writer.go",
			"	start := time.Now()\n	if err := w.out.Sync(); err != nil {",
			"	start := time.Now()\n	w.settle()\n	if err := w.out.Sync(); err != nil {"}},
	},
	{
		Name: "no directory fsync for a new segment", Phase: "small",
		Edits: []Edit{{"queue/segment/writer.go",
			"	if err == nil {\n		err = fsys.SyncDir(dir)\n	}\n",
			""}},
	},
	{
		Name: "unlink before the checkpoint is durable", Phase: "faults",
		Edits: []Edit{{"queue/keeper.go", "low = min(low, r.durable)", "low = min(low, r.floor)"}},
	},
	{
		Name: "a failed fsync is retried on the same file", Phase: "faults",
		Edits: []Edit{{"queue/segment/writer.go",
			"	if err := w.file.Sync(); err != nil {\n		w.broken",
			"	err := w.file.Sync()\n	if err != nil {\n		err = w.file.Sync()\n	}\n	if err != nil {\n		w.broken"}},
	},
	{
		Name: "a length is trusted before its checksum", Phase: "damage",
		Edits: []Edit{
			{"queue/segment/frame.go", "if le.Uint32(b[52:]) != headerSum(b, salt, offset) {", "if false {"},
			{"queue/segment/scan.go",
				"	if s.at >= s.end { // the file turned out to end here\n		return io.EOF\n	}\n",
				`	if s.at >= s.end {
		return io.EOF
	}
	if b, _ := s.bytes(s.at, FrameHeaderSize); len(b) == FrameHeaderSize {
		if h, err := DecodeFrameHeader(b, s.salt, s.at); err == nil && s.at+h.Size() <= s.end {
			s.bad(s.at, s.at+h.Size(), s.at+h.Size())
			s.at += h.Size()
			return nil
		}
	}
`},
		},
	},
	{
		Name: "a sequence is used twice after a crash", Phase: "ingest",
		Edits: []Edit{{"recovery/positions.go",
			"last = max(last, p.seen, p.header.Previous.Last)",
			"last = max(last, p.header.Previous.Last)"}},
	},
	{
		Name: "a source position is stored apart from its data", Phase: "small",
		Edits: []Edit{{"queue/append.go",
			"	if len(runs) == 1 && len(runs[0].Body) < gatherLimit {\n",
			`	for i := range runs {
		if len(runs[i].Position) > 0 {
			q.SetSource(string(runs[i].Key), runs[i].Position)
			runs[i].Position = nil
		}
	}
	if len(runs) == 1 && len(runs[0].Body) < gatherLimit {
`}},
	},
	{
		Name: "readers go past the durable mark", Phase: "small",
		Edits: []Edit{{"queue/writer.go",
			"		w.written = d.header.Last()\n",
			"		w.written = d.header.Last()\n		w.q.mark.Store(w.written)\n		w.q.moved.wake()\n"}},
	},
	{
		Name:  "no directory fsync for the checkpoint database",
		Edits: []Edit{{"checkpoint/bolt.go", "	return fsys.SyncDir(filepath.Dir(path))\n", "	return nil\n"}},
	},
	{
		Name: "checkpoint before delivery",
		Edits: []Edit{{"forward/deliver.go",
			"			l.enter(stateSending)\n			err = l.send(stop, hard)\n",
			`			if b.Len() > 0 {
				l.reader.Done(nil, checkpoint.Range{First: b.First, Last: b.Last})
			}
			l.enter(stateSending)
			err = l.send(stop, hard)
`}},
	},
}
