package main

import (
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"logmule/forward"
	"logmule/forward/config"
)

func checkCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "check [-c FILE] [--files]",
		Short: "Validate a configuration",
		Long: `Validate a configuration without running it: every error as FILE:LINE: what is wrong; what
to do. Nothing is made or connected to, and certificate files that cannot be used here are
only a warning: the configuration may be for another machine. Without -c the quick start
of "logmule run" is checked.

With --files it also says for each input that follows files which of them it would read,
from where and in which order, and which not and why. Files and data_dir are only read,
also while the daemon runs; what it says is then about a second old.

Exit status: 0 valid, 1 not valid, 2 usage.`,
		Example: `  logmule check -c /etc/logmule.toml
  logmule check -c /etc/logmule.toml --files`,
		Args: cobra.NoArgs,
	}
	file := configFlag(cmd)
	files := cmd.Flags().Bool("files", false, "say which files would be read, and from where")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		cfg, err := loadConfig(cmd, *file)
		if err != nil {
			return err
		}
		name := *file
		if !cmd.Flags().Changed("config") {
			name = "quick start"
		}
		printWarnings(cmd.ErrOrStderr(), cfg)
		if err := forward.Probe(cfg); err != nil {
			for line := range strings.SplitSeq(err.Error(), "\n") {
				fmt.Fprintf(cmd.ErrOrStderr(), "warning: %s\n", line)
			}
		}
		page := fmt.Sprintf("%s: ok: %s; %s\n", name, summary("input", cfg.Inputs), summary("output", cfg.Outputs))
		if *files {
			planned, err := planFiles(cfg)
			if err != nil {
				return err
			}
			page += planned
		}
		return write(cmd.OutOrStdout(), page)
	}
	return cmd
}

// configFlag adds -c.
func configFlag(cmd *cobra.Command) *string {
	return cmd.Flags().StringP("config", "c", "", "configuration `FILE` (TOML)")
}

// loadConfig reads the configuration that -c names, or makes that of the quick start, and builds all of it once. What is
// wrong is printed; the error then only carries the status.
func loadConfig(cmd *cobra.Command, file string) (*config.Config, error) {
	var cfg *config.Config
	var err error
	if cmd.Flags().Changed("config") {
		cfg, err = config.Load(file)
	} else {
		cfg = config.QuickStart(quickStartDir)
	}
	if cfg != nil {
		err = config.Join(err, forward.Check(cfg))
	}
	if err != nil {
		fmt.Fprintln(cmd.ErrOrStderr(), err)
		return nil, &failure{code: exitFailed}
	}
	return cfg, nil
}

func printWarnings(w io.Writer, cfg *config.Config) {
	for _, warning := range cfg.Warnings {
		fmt.Fprintf(w, "warning: %s\n", warning)
	}
}

// summary is "2 inputs (app http, legacy tcp)".
func summary(what string, sections []config.Section) string {
	names := make([]string, len(sections))
	for i, s := range sections {
		names[i] = s.Name + " " + s.Type
	}
	switch len(names) {
	case 0:
		return "no " + what + "s"
	case 1:
		return fmt.Sprintf("1 %s (%s)", what, names[0])
	default:
		return fmt.Sprintf("%d %ss (%s)", len(names), what, strings.Join(names, ", "))
	}
}
