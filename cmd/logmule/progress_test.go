package main

import (
	"bytes"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"
)

func TestBarLine(t *testing.T) {
	const gib = 1 << 30
	tests := []struct {
		done, total int64
		took        time.Duration
		columns     int
		want        string
	}{
		{512, 1024, 0, 79, "[###########------------]  50%  512 B of 1.0 KiB"},
		{0, 1024, time.Second, 79, "[-----------------------]   0%  0 B of 1.0 KiB"},
		{gib, 5 * gib, time.Second, 79, "[####-------------------]  20%  1.0 GiB of 5.0 GiB, 1.0 GiB/s"},
		{2 * gib, 5 * gib, 2 * time.Second, 79, "[#########--------------]  40%  2.0 GiB of 5.0 GiB, 1.0 GiB/s, 3 s left"},
		{2 * gib, 5 * gib, 2 * time.Second, 61, "[##---]  40%  2.0 GiB of 5.0 GiB, 1.0 GiB/s, 3 s left"},
		{2 * gib, 5 * gib, 2 * time.Second, 48, " 40%  2.0 GiB of 5.0 GiB, 1.0 GiB/s, 3 s left"},
		{2 * gib, 5 * gib, 2 * time.Second, 10, " 40%  2.0 "},
		{2 * gib, 5 * gib, 2 * time.Second, -3, ""},
		{5 * gib, 5 * gib, 500 * time.Second, 100, "[##############################] 100%  5.0 GiB of 5.0 GiB, 10 MiB/s, 0 s left"},
		{gib, 500 * gib, 60 * time.Second, 100, "[------------------------------]   0%  1.0 GiB of 500 GiB, 17 MiB/s, 8 h 19 min left"},
		{gib, 5 * gib, 60 * time.Second, 100, "[######------------------------]  20%  1.0 GiB of 5.0 GiB, 17 MiB/s, 4 min 0 s left"},
	}
	for _, test := range tests {
		if got := barLine(test.done, test.total, test.took, test.columns); got != test.want {
			t.Errorf("%d of %d after %v in %d columns: got\n%q, want\n%q", test.done, test.total, test.took, test.columns, got, test.want)
		}
	}
}

func TestProgress(t *testing.T) {
	if newProgress(new(bytes.Buffer), false).w != nil {
		t.Error("a bar that is not on a terminal")
	}
	for _, name := range []string{t.TempDir() + "/x", os.DevNull} {
		file, err := os.OpenFile(name, os.O_RDWR|os.O_CREATE, 0o600)
		if err != nil {
			t.Fatal(err)
		}
		defer file.Close()
		if newProgress(file, false).w != nil {
			t.Errorf("%s counts as a terminal", name)
		}
	}
	var b bytes.Buffer
	p := &progress{w: &b, columns: func() int { return 80 }}
	p.show(1, 0)
	if b.Len() > 0 {
		t.Errorf("a bar of nothing: %q", b.String())
	}
	p.show(512, 1024)
	p.show(1024, 1024) // too soon after the one before
	bar := "[##########----------]  50%  512 B of 1.0 KiB"
	if got := b.String(); got != "\r"+bar {
		t.Errorf("got %q", got)
	}
	p.step(2, 12)
	if got, want := b.String(), "\r"+bar+"\r"+fmt.Sprintf("%-*s", len(bar), "all read; repairing segment 2 of 12"); got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	b.Reset()
	p.clear()
	p.clear()
	if got := b.String(); got != "\r"+strings.Repeat(" ", len(bar)+2)+"\r" {
		t.Errorf("clearing wrote %q", got)
	}
	quiet := newProgress(os.Stderr, true)
	quiet.show(1, 2)
	quiet.step(1, 2)
	quiet.clear()
}
