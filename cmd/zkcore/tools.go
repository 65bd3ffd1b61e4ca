package main

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"time"

	"github.com/spf13/cobra"

	"github.com/zkcore/zkcore/core/config"
	"github.com/zkcore/zkcore/core/node"
	"github.com/zkcore/zkcore/plugins"
	"github.com/zkcore/zkcore/plugins/storage"
)

// The tools work on the directories of a server that does not run. They are told
// which by the same flags, environment and file as the server.

func (o *options) tool(use, short, long string, run func(cmd *cobra.Command, cfg *config.Config) error) *cobra.Command {
	cmd := &cobra.Command{
		Use: use, Short: short, Long: long, Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			cfg, err := o.load(cmd.Flags(), args, os.Environ())
			if err != nil {
				return fmt.Errorf("invalid config, exiting abnormally: %w", err)
			}
			return run(cmd, cfg)
		},
	}
	o.flags(cmd.Flags())
	cmd.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return &coded{exitConfig, err} })
	return cmd
}

func storageCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "storage", Short: "look after a store's files", Args: cobra.NoArgs}
	var compact, check options
	cmd.AddCommand(
		compact.tool("compact [zoo.cfg]", "make a store's file as small as it can be",
			"compact copies what is in use of the store's file into a new one, which takes its place. The server must not run.",
			func(cmd *cobra.Command, cfg *config.Config) error {
				return withTools(cfg, func(t storage.Tools, sc storage.Config) error {
					if t.Compact == nil {
						return nothingToDo(cfg, "compact")
					}
					start := time.Now()
					before, after, err := t.Compact(sc)
					if err == nil {
						fmt.Fprintf(cmd.OutOrStdout(), "%s: from %d to %d bytes, in %v\n", sc.Dir, before, after, time.Since(start).Round(time.Millisecond))
					}
					return err
				})
			}),
		check.tool("check [zoo.cfg]", "read all of a store, and say whether it is sound",
			"check reads the store's file from one end to the other. The server must not run.",
			func(cmd *cobra.Command, cfg *config.Config) error {
				return withTools(cfg, func(t storage.Tools, sc storage.Config) error {
					if t.Check == nil {
						return nothingToDo(cfg, "check")
					}
					err := t.Check(sc)
					if err == nil {
						fmt.Fprintf(cmd.OutOrStdout(), "%s: sound\n", sc.Dir)
					}
					return err
				})
			}),
	)
	return cmd
}

func nothingToDo(cfg *config.Config, what string) error {
	return fmt.Errorf("storage=%s keeps nothing on disk that one could %s", cfg.Storage, what)
}

// withTools calls fn with the tools of the store that is configured.
func withTools(cfg *config.Config, fn func(storage.Tools, storage.Config) error) error {
	// A program's files are those of the module that it is called after.
	name := plugins.Name(cfg.Storage)
	if _, err := builtin.OpenStorage(name); err != nil {
		return unusable(cfg, "storage", err)
	}
	nc := nodeConfig(cfg)
	return node.WithStopped(nc, func(*node.Node) error { return fn(builtin.StorageTools[name], nc.Storage) })
}

func snapshotCommand() *cobra.Command {
	var o options
	return o.tool("snapshot [zoo.cfg]", "write what the store keeps as a snapshot file",
		"snapshot writes a snapshot, in Apache's format, of what the store has on disk: a server with another store, and\nApache's too, starts from it. The server must not run.",
		func(cmd *cobra.Command, cfg *config.Config) error {
			nc := nodeConfig(cfg)
			nc.Log = newLogger(os.Stderr, slog.LevelWarn, cfg.ServerID)
			_, open, err := openers(cfg, nc.Log, nil, nil)
			if err != nil {
				return err
			}
			nc.OpenStorage = func(sc storage.Config) (storage.Store, error) {
				s, err := open(sc)
				if errors.Is(err, storage.ErrDamaged) {
					// As text: the node would say that it makes it anew.
					return nil, fmt.Errorf("%v: a server that starts sets it aside, and makes it anew", err)
				}
				return s, err
			}
			nc.Fail = func(code int, _ error) { os.Exit(code) } // the node has logged why
			file, znodes, err := node.Export(nc)
			if bad := unusableOption(cfg, err); bad != nil {
				return bad
			}
			if err == nil {
				fmt.Fprintf(cmd.OutOrStdout(), "%s: %d znodes at %v, %d bytes\n", file.Name, znodes, file.Zxid, file.Size)
			}
			return err
		})
}
