package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"syscall"

	"logmule/queue/vfs"
	"logmule/recovery"
)

// repair runs fsck --repair.
func repair(ctx context.Context, dir string, opt recovery.CheckOptions, bar *progress) (recovery.Report, error) {
	if _, err := vfs.OS().Stat(dir); err == nil {
		if err := ownedByUs(dir); err != nil {
			return recovery.Report{}, &failure{code: exitOperational, err: fmt.Errorf("repair: %w", err)}
		}
	}
	report, err := recovery.Repair(ctx, vfs.OS(), dir, recovery.RepairOptions{CheckOptions: opt, Holder: holder("fsck --repair"), Changing: bar.step})
	if err != nil {
		return report, repairFailure(dir, ctx.Err() != nil, err)
	}
	return report, nil
}

// printRepair prints the report. The status that it returns is 0 where nothing was damaged, 1 where all that was is put right,
// 4 where some is left.
func printRepair(w io.Writer, dir string, r recovery.Report, flags fsckOptions) error {
	flags.quiet = flags.quiet && len(r.Damage) == 0 // what it has done is to be seen
	switch err := printFsck(w, dir, r, flags); {
	case err != nil:
		return err
	case !r.Clean:
		return &failure{code: exitDamaged}
	case len(r.Damage) > 0:
		return &failure{code: exitCorrected}
	}
	return nil
}

// repairFailure explains why a directory is not repaired, or not to the end.
func repairFailure(dir string, interrupted bool, err error) error {
	f := &failure{code: exitOperational, err: fmt.Errorf("repair %s: %w", dir, err)}
	var locked *vfs.LockedError
	var unknown *recovery.UnknownFormatError
	switch {
	case interrupted:
		_, done, _ := strings.Cut(err.Error(), "; ") // behind the signal
		f.err = fmt.Errorf("repair %s: interrupted: %s", dir, done)
	case errors.As(err, &locked):
		f.hint = "stop the daemon, run this again, and start it; without --repair fsck works beside a running daemon"
	case errors.As(err, &unknown):
		f.hint = "nothing was touched; repair it with the logmule that wrote it, or a newer one"
	case errors.Is(err, syscall.EROFS):
		f.hint = "mount the file system for writing; without --repair fsck only reads"
	default:
		f.hint = dirHint(err)
	}
	return f
}
