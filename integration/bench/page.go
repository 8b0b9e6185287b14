package main

import (
	"fmt"
	"runtime"
	"strconv"
)

func printMachine(o options, m machine, loopback result) {
	fmt.Printf("%d-byte records and LF, made log lines of five services (snappy %.1f:1 in 256 KiB blocks); %s records a run, %d connections, median of %d\n",
		recordSize, m.Ratio, grouped(float64(o.Records)), o.Connections, o.Runs)
	fmt.Printf("%d CPUs, sync = %q, compression = %q, data below %s\n\n", runtime.NumCPU(), o.Sync, o.Compression, o.Dir)
	fmt.Println("this machine, one core each")
	line("loopback TCP, generator to sink", "%12s records/s", grouped(loopback.Rate))
	line("memory copy", "%12s MB/s", grouped(m.Copy/1e6))
	line("CRC32C", "%12s MB/s", grouped(m.CRC/1e6))
	line("snappy encode", "%12s MB/s  %6.3f CPU s per million records", grouped(m.Encode/1e6), perMillion(m.Encode))
	line("snappy decode", "%12s MB/s  %6.3f CPU s per million records", grouped(m.Decode/1e6), perMillion(m.Decode))
	line("write 1 MiB + fdatasync", "%12s MB/s", grouped(m.Write/1e6))
	line("write 4 KiB + fdatasync", "%12s a second", grouped(m.Syncs))
	fmt.Println()
}

func printScenario(o options, m machine, loopback result, kind string, r result) {
	fmt.Printf("%s to queue to %s\n", kind, kind)
	line("records", "%12s a second  %6.1f MB/s", grouped(r.Rate), r.Rate*recordSize/1e6)
	line("CPU of logmule", "%12.2f s per million records", r.CPU.Seconds())
	line("peak resident memory", "%12.1f MiB", float64(r.Peak)/(1<<20))
	line("of loopback TCP", "%12.2f", r.Rate/loopback.Rate)
	if o.Compression == "snappy" {
		line("CPU, in snappy encodes of the same", "%12.1f", r.CPU.Seconds()/perMillion(m.Encode))
		line("of 1 MiB write + fdatasync, stored", "%12.2f", r.Rate*lineSize/m.Ratio/m.Write)
	} else {
		line("of 1 MiB write + fdatasync, stored", "%12.2f", r.Rate*lineSize/m.Write)
	}
	fmt.Println()
}

func line(what, format string, args ...any) {
	fmt.Printf("  %-36s "+format+"\n", append([]any{what}, args...)...)
}

// perMillion is the CPU time for the bytes of a million records at so many bytes a second.
func perMillion(rate float64) float64 { return 1e6 * lineSize / rate }

// grouped prints a number with commas between the thousands.
func grouped(x float64) string {
	s := strconv.FormatInt(int64(x+0.5), 10)
	for at := len(s) - 3; at > 0; at -= 3 {
		s = s[:at] + "," + s[at:]
	}
	return s
}
