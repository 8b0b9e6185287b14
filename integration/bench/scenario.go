package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"sort"
	"time"

	"logmule/integration/rig"
)

// result is one run.
type result struct {
	Rate float64       // records a second, from the first write of the generator to the last record at the sink
	CPU  time.Duration // of logmule alone, per million records
	Peak int64         // resident bytes of logmule
}

// median warms up once and gives, figure by figure, the median of n runs.
func median(n int, run func() (result, error)) (result, error) {
	if _, err := run(); err != nil {
		return result{}, err
	}
	results := make([]result, n)
	for i := range results {
		var err error
		if results[i], err = run(); err != nil {
			return result{}, err
		}
	}
	var m result
	sort.Slice(results, func(i, j int) bool { return results[i].Rate < results[j].Rate })
	m.Rate = results[n/2].Rate
	sort.Slice(results, func(i, j int) bool { return results[i].CPU < results[j].CPU })
	m.CPU = results[n/2].CPU
	sort.Slice(results, func(i, j int) bool { return results[i].Peak < results[j].Peak })
	m.Peak = results[n/2].Peak
	return m, nil
}

// part is a child process: this program again as generator or sink.
type part struct {
	cmd *exec.Cmd
	out *bufio.Reader
}

func startPart(what string, with any) (*part, error) {
	text, err := json.Marshal(with)
	if err != nil {
		return nil, err
	}
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	p := &part{cmd: exec.Command(self, what, string(text))}
	p.cmd.Stderr = os.Stderr
	pipe, err := p.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	p.out = bufio.NewReader(pipe)
	if err := p.cmd.Start(); err != nil {
		return nil, fmt.Errorf("start %s: %w", what, err)
	}
	return p, nil
}

// nanoseconds reads the last line of a part and waits for its end.
func (p *part) nanoseconds() (int64, error) {
	var at int64
	err := json.NewDecoder(p.out).Decode(&at)
	if end := p.cmd.Wait(); end != nil {
		return 0, end
	}
	return at, err
}

func (p *part) kill() {
	_ = p.cmd.Process.Kill()
	_ = p.cmd.Wait()
}

// drive sends the load of a kind to an address that through gives, once it knows where the sink is, and waits for all of it at the sink.
func drive(o options, kind string, through func(sink string) (address string, err error)) (rate float64, err error) {
	sink, err := startPart("receive", expect{Kind: kind, Records: uint64(o.Records)})
	if err != nil {
		return 0, err
	}
	defer sink.kill()
	var at string
	if _, err := fmt.Fscanln(sink.out, &at); err != nil {
		return 0, fmt.Errorf("read address of the sink: %w", err)
	}
	address, err := through(at)
	if err != nil {
		return 0, err
	}
	gen, err := startPart("generate", load{Kind: kind, Address: address, Connections: o.Connections, Records: o.Records})
	if err != nil {
		return 0, err
	}
	defer gen.kill()
	first, err := gen.nanoseconds()
	if err != nil {
		return 0, fmt.Errorf("run generator: %w", err)
	}
	last, err := sink.nanoseconds()
	if err != nil {
		return 0, fmt.Errorf("run sink: %w", err)
	}
	return float64(o.Records) / time.Duration(last-first).Seconds(), nil
}

// runLoopback sends straight into the sink.
func runLoopback(o options) (result, error) {
	rate, err := drive(o, "tcp", func(sink string) (string, error) { return sink, nil })
	return result{Rate: rate}, err
}

const configuration = `
data_dir = %q
[admin]
listen = %q
[queue]
sync = %q
compression = %q
[input.in]
type = %q
listen = %q
[output.out]
type = %q
%s
`

// runScenario sends through a fresh logmule with a fresh data directory.
func runScenario(o options, kind string) (r result, err error) {
	dir, err := os.MkdirTemp(o.Dir, kind+"-")
	if err != nil {
		return r, err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	in, err := rig.FreeAddress()
	if err != nil {
		return r, err
	}
	admin, err := rig.FreeAddress()
	if err != nil {
		return r, err
	}
	var p *rig.Process
	defer func() {
		if p != nil {
			p.Kill()
		}
	}()
	var before time.Duration
	r.Rate, err = drive(o, kind, func(sink string) (string, error) {
		where := fmt.Sprintf("address = %q", sink)
		if kind == "http" {
			where = fmt.Sprintf("url = %q", "http://"+sink+"/")
		}
		file := filepath.Join(dir, "logmule.toml")
		text := fmt.Sprintf(configuration, filepath.Join(dir, "data"), admin, o.Sync, o.Compression, kind, in, kind, where)
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			return "", err
		}
		if p, err = rig.Start(rig.Command{Program: o.Binary, Args: []string{"run", "-c", file}, Dir: dir, Admin: admin}); err != nil {
			return "", err
		}
		if _, err := p.Ready(rig.Patience); err != nil {
			return "", err
		}
		before, err = rig.CPU(p.PID())
		return in, err
	})
	if err != nil {
		return r, scenarioError(kind, p, err)
	}
	after, err := rig.CPU(p.PID())
	if err != nil {
		return r, err
	}
	r.CPU = time.Duration(float64(after-before) / float64(o.Records) * 1e6)
	_, r.Peak, err = rig.Memory(p.PID())
	return r, err
}

func scenarioError(kind string, p *rig.Process, err error) error {
	if p == nil {
		return fmt.Errorf("run %s: %w", kind, err)
	}
	_, _ = io.WriteString(os.Stderr, p.Output())
	return fmt.Errorf("run %s: %w; the output of logmule stands above", kind, err)
}
