package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net"
	"os/exec"
	"slices"
	"time"

	"logmule/integration/rig"
)

// checked is one run of fsck.
type checked struct {
	Wall, CPU time.Duration
	Clean     bool  `json:"clean"`
	Bytes     int64 `json:"bytes"`
	Records   int64 `json:"records"`
}

// fsck runs it, and wants it to find a clean queue.
func fsck(o options, data string, args ...string) (checked, error) {
	var c checked
	cmd := exec.Command(o.Binary, append([]string{"fsck", data, "--json"}, args...)...)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	began := time.Now()
	out, err := cmd.Output()
	c.Wall = time.Since(began)
	if err != nil {
		return c, fmt.Errorf("fsck %s %v: %w\n%s%s", data, args, err, out, stderr.Bytes())
	}
	c.CPU = cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime()
	if err := json.Unmarshal(out, &c); err != nil {
		return c, fmt.Errorf("read report of fsck: %w", err)
	}
	if !c.Clean {
		return c, fmt.Errorf("fsck %s: not clean\n%s", data, out)
	}
	return c, nil
}

// runFsck measures fsck of a queue that is in the page cache, after one run that puts it there.
func runFsck(o options, m machine, d *daemon) error {
	took := make([]checked, o.Runs)
	fastest := func(args ...string) (checked, error) {
		if _, err := fsck(o, d.data, args...); err != nil {
			return checked{}, err
		}
		for i := range took {
			var err error
			if took[i], err = fsck(o, d.data, args...); err != nil {
				return checked{}, err
			}
		}
		slices.SortFunc(took, func(a, b checked) int { return int(a.CPU - b.CPU) })
		return took[o.Runs/2], nil
	}
	plain, err := fastest()
	if err != nil {
		return err
	}
	deep, err := fastest("--deep")
	if err != nil {
		return err
	}
	raw := float64(plain.Records) * lineSize
	fmt.Printf("fsck of that first queue, %s records, in the page cache\n", grouped(float64(plain.Records)))
	line("fsck, file bytes a core", "%12s MB/s  %6.1f %% of CRC32C", grouped(float64(plain.Bytes)/1e6/plain.CPU.Seconds()), 100*float64(plain.Bytes)/plain.CPU.Seconds()/m.CRC)
	line("fsck, file bytes on all cores", "%12s MB/s", grouped(float64(plain.Bytes)/1e6/plain.Wall.Seconds()))
	line("fsck --deep, record bytes a core", "%12s MB/s  %6.1f %% of snappy decode", grouped(raw/1e6/deep.CPU.Seconds()), 100*raw/deep.CPU.Seconds()/m.Decode)
	line("fsck --deep, its decoding alone", "%12s MB/s  %6.1f %% of snappy decode", grouped(raw/1e6/(deep.CPU-plain.CPU).Seconds()), 100*raw/(deep.CPU-plain.CPU).Seconds()/m.Decode)
	fmt.Println()
	return nil
}

// liveFor is how long a daemon is watched, without fsck and with it.
const liveFor = 3 * time.Second

const liveConfiguration = `keep_size = "512MiB"
[input.in]
type = "generate"
rate = %d
size = "256B"
[output.out]
type = "tcp"
address = %q
`

// pace is what a daemon did in a while.
type pace struct {
	records float64 // taken, a second
	sent    float64 // a second
	cpu     float64 // seconds per million records
}

// watch measures a running daemon for a while.
func (d *daemon) watch(meanwhile func() error) (pace, error) {
	look := func() (taken, sent float64, cpu time.Duration, err error) {
		if taken, err = d.p.Metric("logmule_queue_appended_records_total"); err == nil {
			sent, err = d.p.Metric("logmule_output_records_total")
		}
		if err == nil {
			cpu, err = rig.CPU(d.p.PID())
		}
		return taken, sent, cpu, err
	}
	began := time.Now()
	taken, sent, cpu, err := look()
	if err != nil {
		return pace{}, err
	}
	for time.Since(began) < liveFor {
		if err := meanwhile(); err != nil {
			return pace{}, err
		}
	}
	took := time.Since(began).Seconds()
	takenNow, sentNow, cpuNow, err := look()
	return pace{(takenNow - taken) / took, (sentNow - sent) / took, (cpuNow - cpu).Seconds() / (takenNow - taken) * 1e6}, err
}

// runLive measures what fsck costs a daemon that has much to do, and whether it takes what is being written for damage.
func runLive(o options) error {
	sink, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	defer func() { _ = sink.Close() }()
	go drain(sink)
	d, err := newDaemon(o, "live", "64MiB", fmt.Sprintf(liveConfiguration, o.Rate, sink.Addr()))
	if err != nil {
		return err
	}
	defer d.end()
	if _, err := d.start(); err != nil {
		return err
	}
	pause := func() error { time.Sleep(100 * time.Millisecond); return nil }
	if _, err := d.watch(pause); err != nil { // warms up
		return err
	}
	before, err := d.watch(pause)
	if err != nil {
		return err
	}
	reports := 0
	var bytes int64
	with, err := d.watch(func() error {
		c, err := fsck(o, d.data)
		reports, bytes = reports+1, c.Bytes
		return err
	})
	if err != nil {
		return err
	}
	fmt.Printf("fsck, one after the other, beside a daemon that is to take and send %s records a second\n", grouped(float64(o.Rate)))
	line("reports, all clean", "%12d of %s MB", reports, grouped(float64(bytes)/1e6))
	line("records taken without, with fsck", "%12s a second, %s: %+.1f %%", grouped(before.records), grouped(with.records), 100*(with.records/before.records-1))
	line("records sent without, with fsck", "%12s a second, %s: %+.1f %%", grouped(before.sent), grouped(with.sent), 100*(with.sent/before.sent-1))
	line("CPU of logmule without, with fsck", "%12.2f s per million records, %.2f: %+.1f %%", before.cpu, with.cpu, 100*(with.cpu/before.cpu-1))
	fmt.Println()
	return nil
}

// drain takes all that comes, until the listener is closed.
func drain(l net.Listener) {
	for {
		conn, err := l.Accept()
		if err != nil {
			return
		}
		go func() {
			defer func() { _ = conn.Close() }()
			buf := make([]byte, 1<<20)
			for {
				if _, err := conn.Read(buf); err != nil {
					return
				}
			}
		}()
	}
}
