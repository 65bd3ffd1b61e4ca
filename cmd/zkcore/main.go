// Command zkcore is the server: a node with the modules of modules.go, and the
// flags, environment and zoo.cfg that configure it.
//
// It runs in the foreground until it is told to stop by SIGTERM or SIGINT, and
// logs to stderr. bin/zkServer.sh starts and stops it in the background.
package main

import (
	"errors"
	"fmt"
	"os"

	"github.com/spf13/cobra"

	"github.com/zkcore/zkcore/core/admin"
	"github.com/zkcore/zkcore/core/config"
)

// Exit codes, as Apache's server has them.
const (
	exitUnexpected = 1
	exitConfig     = 2
)

// A coded error ends the process with a code of its own.
type coded struct {
	code int
	err  error
}

func (e *coded) Error() string { return e.err.Error() }
func (e *coded) Unwrap() error { return e.err }

// A reported error is in the log already, with the time at which it came.
type reported struct{ err error }

func (e *reported) Error() string { return e.err.Error() }
func (e *reported) Unwrap() error { return e.err }

func main() {
	err := rootCommand().Execute()
	if err == nil {
		return
	}
	code := exitUnexpected
	var c *coded
	var bad *config.Error
	// A module may have a code for what goes wrong when it opens.
	var own interface{ ExitCode() int }
	switch {
	case errors.As(err, &c):
		code = c.code
	case errors.As(err, &bad):
		code = exitConfig
	case errors.As(err, &own):
		code = own.ExitCode()
	}
	var r *reported
	if !errors.As(err, &r) {
		fmt.Fprintln(os.Stderr, "zkcore:", err)
	}
	os.Exit(code)
}

func rootCommand() *cobra.Command {
	var o options
	cmd := &cobra.Command{
		Use:   "zkcore [--config=zoo.cfg]",
		Short: "a coordination server for ZooKeeper's clients",
		Long: `zkcore serves ZooKeeper's clients, alone or as one of an ensemble.

A key of zoo.cfg can be set by a flag (--set tickTime=500), by the environment (ZKCORE_TICKTIME=500), in the
file, or by one of Apache's properties (-Dzookeeper.snapCount=1000); the earlier in this list beats the later.`,
		Example: `  zkcore --config=conf/zoo.cfg
  zkcore --consensus=zab --storage=bolt --config=conf/zoo.cfg
  zkcore conf/zoo.cfg`,
		SilenceUsage:  true,
		SilenceErrors: true,
		Args:          cobra.MaximumNArgs(4),
		RunE: func(cmd *cobra.Command, args []string) error {
			cfg, err := o.load(cmd.Flags(), args, os.Environ())
			if err != nil {
				return fmt.Errorf("invalid config, exiting abnormally: %w", err)
			}
			return run(cmd.Context(), cfg, o.crashes, os.Stderr)
		},
	}
	cmd.Version = fmt.Sprintf("zkcore %s, compatible with Apache ZooKeeper, version %s", admin.Release(), admin.VersionText())
	cmd.SetVersionTemplate("{{.Version}}\n")
	o.flags(cmd.Flags())
	cmd.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return &coded{exitConfig, err} })
	cmd.AddCommand(fourLetterCommand(), convertCommand(), storageCommand(), snapshotCommand(), pluginCommand(), &cobra.Command{
		Use:   "version",
		Short: "print the version",
		Args:  cobra.NoArgs,
		Run: func(cmd *cobra.Command, _ []string) {
			fmt.Fprintln(cmd.OutOrStdout(), cmd.Root().Version)
		},
	})
	cmd.CompletionOptions.DisableDefaultCmd = true
	return cmd
}
