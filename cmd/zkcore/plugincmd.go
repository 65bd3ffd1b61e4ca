package main

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/zkcore/zkcore/core/config"
	"github.com/zkcore/zkcore/plugins"
	"github.com/zkcore/zkcore/plugins/process"
)

// pluginCommand shows and tries the modules that a server could use.
func pluginCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "plugin",
		Short: "list and verify the modules that are programs of their own",
	}
	var o options
	load := func(cmd *cobra.Command) (*config.Config, error) {
		cfg, err := o.load(cmd.Flags(), nil, os.Environ())
		if err != nil {
			return nil, fmt.Errorf("invalid config: %w", err)
		}
		return cfg, nil
	}
	list := &cobra.Command{
		Use:   "list --config=zoo.cfg",
		Short: "list the modules that are built in, and those in zkcore.plugin.dir",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			cfg, err := load(cmd)
			if err != nil {
				return err
			}
			return listModules(cmd.OutOrStdout(), cfg)
		},
	}
	verify := &cobra.Command{
		Use:   "verify --config=zoo.cfg [NAME|PATH...]",
		Short: "start each module as a server would, and say whether it could be used",
		Long: `verify looks at a module's file and checksum, starts it, and asks it what it is, as a server does. Without a
name it does so with the modules of the configuration that are programs, and all in zkcore.plugin.dir.`,
		RunE: func(cmd *cobra.Command, args []string) error {
			cfg, err := load(cmd)
			if err != nil {
				return err
			}
			return verifyModules(cmd.OutOrStdout(), cfg, args)
		},
	}
	for _, c := range []*cobra.Command{list, verify} {
		o.flags(c.Flags())
		c.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return &coded{exitConfig, err} })
	}
	cmd.AddCommand(list, verify)
	return cmd
}

// programs are the modules' programs in zkcore.plugin.dir.
func programs(cfg *config.Config) ([]choice, error) {
	if cfg.Plugins.Dir == "" {
		return nil, nil
	}
	if err := process.CheckDir(cfg.Plugins.Dir); err != nil {
		return nil, &config.Error{Origin: cfg.Origin("zkcore.plugin.dir"), Key: "zkcore.plugin.dir", Reason: err.Error()}
	}
	entries, err := os.ReadDir(cfg.Plugins.Dir)
	if err != nil {
		return nil, err
	}
	var out []choice
	for _, e := range entries {
		for _, kind := range []string{plugins.KindConsensus, plugins.KindStorage} {
			if name, ok := strings.CutPrefix(e.Name(), plugins.FileName(kind, "")); ok && name != "" {
				out = append(out, choice{kind: kind, value: name, path: filepath.Join(cfg.Plugins.Dir, e.Name())})
			}
		}
	}
	return out, nil
}

// checksum says what is configured about a file.
func checksum(cfg *config.Config, path string) (sum, state string) {
	// First: a file that is none may be read for ever.
	if err := process.CheckFile(path); err != nil {
		return "-", err.Error()
	}
	sum, err := process.Sum(path)
	want := strings.ToLower(strings.TrimSpace(cfg.Plugins.SHA256[plugins.Name(path)]))
	switch {
	case err != nil:
		return "-", err.Error()
	case want == "":
		return sum, "no checksum configured"
	case want != sum:
		return sum, "not the configured file"
	}
	return sum, "ok"
}

func listModules(out io.Writer, cfg *config.Config) error {
	found, err := programs(cfg)
	if err != nil {
		return err
	}
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "KIND\tNAME\tWHERE\tSTATE\tSHA-256")
	for _, name := range slices.Sorted(maps.Keys(builtin.Consensus)) {
		fmt.Fprintf(w, "%s\t%s\tbuilt in\tok\t-\n", plugins.KindConsensus, name)
	}
	for _, name := range slices.Sorted(maps.Keys(builtin.Storage)) {
		fmt.Fprintf(w, "%s\t%s\tbuilt in\tok\t-\n", plugins.KindStorage, name)
	}
	for _, c := range found {
		sum, state := checksum(cfg, c.path)
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\n", c.kind, c.value, c.path, state, sum)
	}
	return w.Flush()
}

func verifyModules(out io.Writer, cfg *config.Config, args []string) error {
	found, err := programs(cfg)
	if err != nil {
		return err
	}
	for kind, value := range map[string]string{plugins.KindConsensus: cfg.Consensus, plugins.KindStorage: cfg.Storage} {
		c, err := choose(cfg, kind, value)
		if err != nil {
			return unusable(cfg, kind, err)
		}
		if !c.builtin && !slices.ContainsFunc(found, func(f choice) bool { return f.path == c.path }) {
			found = append(found, c)
		}
	}
	if len(args) > 0 {
		found = slices.DeleteFunc(found, func(c choice) bool {
			return !slices.Contains(args, plugins.Name(c.path)) && !slices.Contains(args, c.path)
		})
		for _, a := range args {
			if !slices.ContainsFunc(found, func(c choice) bool { return a == plugins.Name(c.path) || a == c.path }) {
				return fmt.Errorf("no program of a module %q: see zkcore plugin list", a)
			}
		}
	}
	if len(found) == 0 {
		fmt.Fprintln(out, "no module is a program: there is nothing to verify")
		return nil
	}
	bad := 0
	for _, c := range found {
		p := c.process(cfg, slog.New(slog.DiscardHandler), nil, nil)
		p.RunDir = "" // a server may be using it
		d, err := process.Verify(p, c.kind)
		if err != nil {
			bad++
			var refused *process.Refused
			var died *process.Died
			switch { // the line names the module already
			case errors.As(err, &refused):
				err = refused.Err
			case errors.As(err, &died):
				err = died.Err
			}
			fmt.Fprintf(out, "%s %s: %s: %v\n", c.kind, plugins.Name(c.path), c.path, err)
			continue
		}
		fmt.Fprintf(out, "%s %s: %s: ok, version %s, contract %d\n", c.kind, plugins.Name(c.path), c.path, d.Version, d.Contract)
	}
	if bad > 0 {
		return &coded{exitConfig, fmt.Errorf("%d of %d modules can't be used", bad, len(found))}
	}
	return nil
}
