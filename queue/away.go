package queue

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path/filepath"
	"syscall"
	"time"

	"logmule/queue/segment"
	"logmule/recovery"
)

const (
	probedSegments = 8    // the newest that a start asks for
	probedBytes    = 4096 // of each, at three places
)

// awaitDisk is for a start: it waits for a disk that does not give the newest segments, since a recovery would take them
// for destroyed. Where it gives some of them, the others are damage after a while. Where it gives none, the error says so,
// and nothing was changed.
func awaitDisk(opt Options) error {
	dir := filepath.Join(opt.Dir, recovery.SegmentDir)
	for began, told := time.Now(), false; ; {
		gave, refused := probeSegments(opt, dir)
		waited := time.Since(began)
		switch {
		case refused == nil, gave && waited >= opt.readPatience:
			return nil
		case waited >= opt.awayPatience:
			return fmt.Errorf("read segments: %w; the disk gives none of them, nothing was changed: look at it, and start again", refused)
		case !told:
			opt.Log.Warn("segments cannot be read, trying again", "error", refused)
			told = true
		}
		select {
		case <-time.After(roomEvery):
		case <-opt.Until.Done():
			return context.Cause(opt.Until)
		}
	}
}

// probeSegments says whether the disk gives any of the newest segments, and an error where it refuses one.
func probeSegments(opt Options, dir string) (gave bool, refused error) {
	infos, err := opt.FS.ReadDir(dir)
	if err != nil {
		return false, refusalOf(err) // for another error the recovery knows better
	}
	left := probedSegments
	for i := len(infos) - 1; i >= 0 && left > 0; i-- {
		if _, ok := segment.ParseName(infos[i].Name()); !ok || !infos[i].Mode().IsRegular() {
			continue
		}
		left--
		some, err := probeFile(opt, filepath.Join(dir, infos[i].Name()), infos[i].Size())
		gave = gave || some
		refused = errors.Join(refused, err)
	}
	return gave, refused
}

func probeFile(opt Options, path string, size int64) (gave bool, refused error) {
	f, err := opt.FS.Open(path)
	if err != nil {
		return false, refusalOf(err)
	}
	defer func() { _ = f.Close() }() // it was only read
	b := make([]byte, probedBytes)
	for _, at := range []int64{0, size / 2, max(size-probedBytes, 0)} {
		if _, err := f.ReadAt(b, at); err == nil || err == io.EOF {
			gave = true
		} else if refused == nil {
			refused = refusalOf(err)
		}
	}
	return gave, refused
}

// refusalOf is an error of the disk; nil: what is wrong is not that.
func refusalOf(err error) error {
	if _, ok := errors.AsType[syscall.Errno](err); !ok || errors.Is(err, fs.ErrNotExist) || errors.Is(err, fs.ErrPermission) || errors.Is(err, syscall.ELOOP) {
		return nil
	}
	return err
}
