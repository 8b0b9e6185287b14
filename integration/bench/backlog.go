package main

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"time"

	"logmule/integration/rig"
)

// daemon is a logmule with a data directory of its own, and what it writes there.
type daemon struct {
	o     options
	dir   string // of configuration and output
	data  string
	in    string // address of its input
	admin string
	p     *rig.Process
}

const backlogConfiguration = `
data_dir = %q
[admin]
listen = %q
[queue]
sync = %q
compression = %q
segment_size = %q
max_size = "1TiB"
min_free = "0B"
scrub_rate = "0B"
%s
`

// newDaemon writes a configuration; the rest of it is what the caller wants of inputs and outputs.
func newDaemon(o options, name, segment, rest string) (*daemon, error) {
	dir, err := os.MkdirTemp(o.Dir, name+"-")
	if err != nil {
		return nil, err
	}
	d := &daemon{o: o, dir: dir, data: filepath.Join(dir, "data")}
	if d.in, err = rig.FreeAddress(); err == nil {
		d.admin, err = rig.FreeAddress()
	}
	if err != nil {
		return nil, err
	}
	if rest == "" { // an input, and an output that nobody answers: all stays
		dead, err := rig.FreeAddress()
		if err != nil {
			return nil, err
		}
		rest = fmt.Sprintf("[input.in]\ntype = \"tcp\"\nlisten = %q\n[output.dead]\ntype = \"http\"\nurl = \"http://%s/\"\n", d.in, dead)
	}
	text := fmt.Sprintf(backlogConfiguration, d.data, d.admin, o.Sync, o.Compression, segment, rest)
	return d, os.WriteFile(filepath.Join(dir, "logmule.toml"), []byte(text), 0o600)
}

// start runs it and says how long it took until it was ready.
func (d *daemon) start() (took time.Duration, err error) {
	d.p, err = rig.Start(rig.Command{Program: d.o.Binary, Args: []string{"run", "-c", filepath.Join(d.dir, "logmule.toml")}, Dir: d.dir, Admin: d.admin})
	if err != nil {
		return 0, err
	}
	return d.p.Ready(time.Minute)
}

// end kills it and removes what it has written.
func (d *daemon) end() {
	if d.p != nil {
		d.p.Kill()
	}
	_ = os.RemoveAll(d.dir)
}

// fill sends it records until enough says so, and kills it while they come.
func (d *daemon) fill(enough func() (bool, error)) error {
	if _, err := d.start(); err != nil {
		return err
	}
	gen, err := startPart("generate", load{Kind: "tcp", Address: d.in, Connections: d.o.Connections, Records: 1 << 40, Cut: true})
	if err != nil {
		return err
	}
	defer gen.kill()
	for {
		if full, err := enough(); full || err != nil {
			d.p.Kill()
			return err
		}
		select {
		case <-d.p.Done():
			return fmt.Errorf("logmule has ended: %s", d.p.Output())
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// segments are the number and the bytes of its segment files.
func (d *daemon) segments() (n int, size int64, err error) {
	entries, err := os.ReadDir(filepath.Join(d.data, "segments"))
	for _, e := range entries {
		if info, err := e.Info(); err == nil {
			n, size = n+1, size+info.Size()
		}
	}
	return n, size, err
}

// starts is the median time until it is ready again after a kill.
func (d *daemon) starts() (time.Duration, error) {
	took := make([]time.Duration, d.o.Runs)
	for i := range took {
		var err error
		if took[i], err = d.start(); err != nil {
			return 0, err
		}
		d.p.Kill()
	}
	slices.Sort(took)
	return took[d.o.Runs/2], nil
}

// runBacklog measures what a large queue costs: a start after kill -9, and fsck.
func runBacklog(o options, m machine) error {
	big, err := newDaemon(o, "backlog", "64MiB", "")
	if err != nil {
		return err
	}
	defer big.end()
	err = big.fill(func() (bool, error) {
		_, size, err := big.segments()
		return size >= int64(o.Backlog)<<20, err
	})
	if err != nil {
		return fmt.Errorf("make a backlog: %w", err)
	}
	n, size, err := big.segments()
	if err != nil {
		return err
	}
	took, err := big.starts()
	if err != nil {
		return err
	}
	fmt.Println("start after kill -9 under load, until /readyz says 200")
	line(fmt.Sprintf("backlog of %s MB, %d segments", grouped(float64(size)/1e6), n), "%12.0f ms", took.Seconds()*1e3)
	small, err := newDaemon(o, "small", "64KiB", "")
	if err != nil {
		return err
	}
	defer small.end()
	err = small.fill(func() (bool, error) {
		n, _, err := small.segments()
		return n >= o.Segments, err
	})
	if err != nil {
		return fmt.Errorf("make small segments: %w", err)
	}
	if n, size, err = small.segments(); err != nil {
		return err
	}
	if took, err = small.starts(); err != nil {
		return err
	}
	line(fmt.Sprintf("backlog of %s MB, %d segments", grouped(float64(size)/1e6), n), "%12.0f ms", took.Seconds()*1e3)
	fmt.Println()
	return runFsck(o, m, big)
}
