package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"

	"logmule/forward"
	"logmule/forward/config"
)

// quickStartDir is the data directory of a run without a configuration, in the working directory.
const quickStartDir = "logmule-data"

func runCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "run [-c FILE]",
		Short: "Run the daemon, in the foreground",
		Long: `Run the daemon in the foreground until SIGTERM or SIGINT (Ctrl-C), or until the standard
input, where it is an input, and all others have ended and everything is delivered. It
logs to standard error.

The first signal stops in order: inputs, requests in flight for at most shutdown_timeout,
positions. A second one exits at once, which is safe: what was acknowledged is on the
disk. Without -c a quick start runs: made-up records are stored in ./logmule-data and
printed.

SIGHUP reads the configuration again and changes only what differs; one that is wrong, or
names certificates or new addresses that cannot be used, changes nothing. SIGUSR1 prints a
report to standard error.

Exit status: 0 stopped, 1 failed or stopped at once, 2 usage.`,
		Example: `  logmule run
  logmule run -c /etc/logmule.toml`,
		Args: cobra.NoArgs,
	}
	file := configFlag(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		cfg, err := loadConfig(cmd, *file)
		if err != nil {
			return err
		}
		stderr := cmd.ErrOrStderr()
		printWarnings(stderr, cfg)
		if !cmd.Flags().Changed("config") {
			greet(stderr, cfg)
		}
		log := newLog(stderr, cfg.Log)
		defer log.fold.flush()
		defer log.adopt()()
		opt := forward.Options{Log: log.Logger, Level: log.level}
		if cmd.Flags().Changed("config") {
			opt.Load = func() (*config.Config, error) { return config.Load(*file) }
		}
		manager := newServiceManager(log.Logger)
		if manager != nil {
			opt.Notify = manager.notice
		}
		e, err := forward.New(cfg, opt)
		if err != nil {
			return &failure{code: exitFailed, err: err}
		}
		if manager != nil {
			defer manager.watch(e.Summary)()
		}
		return supervise(cmd.Context(), log.Logger, stderr, e)
	}
	return cmd
}

// greet says what the quick start does and what can be tried with it.
func greet(w io.Writer, cfg *config.Config) {
	fmt.Fprintf(w, `logmule runs without a configuration: made-up records, 10 a second, are stored and printed to standard output.

  data         ./%[1]s
  status page  http://%[2]s/
  log          standard error, here
  stop         Ctrl-C

Kill it as hard as you like, from another terminal, and run it again:

  kill -9 %[3]d

Nothing that was stored is lost or altered; these two say so, while it runs too:

  logmule fsck %[1]s    checks every byte
  logmule stat %[1]s    shows what is stored and how far the output is

`, cfg.DataDir, cfg.Admin.Listen, os.Getpid())
}

// engine is what signals are for.
type engine interface {
	Run(ctx context.Context) error
	Reload()
	Report() string
}

// supervise runs the daemon until a signal, and then until it has returned or a second signal comes.
func supervise(ctx context.Context, log *slog.Logger, stderr io.Writer, d engine) error {
	signals := make(chan os.Signal, 8)
	signal.Notify(signals, syscall.SIGTERM, syscall.SIGINT, syscall.SIGHUP, syscall.SIGUSR1)
	defer signal.Stop(signals)

	ctx, stop := context.WithCancel(ctx)
	defer stop()
	ended := make(chan error, 1)
	go func() { ended <- d.Run(ctx) }()
	for {
		select {
		case err := <-ended:
			if err != nil {
				return &failure{code: exitFailed, err: err}
			}
			return nil
		case s := <-signals:
			switch s {
			case syscall.SIGHUP:
				d.Reload()
				continue
			case syscall.SIGUSR1:
				io.WriteString(stderr, d.Report())
				continue
			}
			if ctx.Err() != nil {
				return &failure{
					code: exitFailed,
					err:  errors.New("stopped at once at the second signal, which is safe: every acknowledged record is on the disk"),
					hint: "the next start goes on from there; outputs may get again what they had not confirmed",
				}
			}
			log.Info("signal received, stopping; a second one exits at once", "signal", s.String())
			stop()
		}
	}
}
