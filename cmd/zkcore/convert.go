package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/zkcore/zkcore/core/node"
	"github.com/zkcore/zkcore/core/txnlog"
	"github.com/zkcore/zkcore/core/vfs"
	"github.com/zkcore/zkcore/plugins/consensus"
)

// convertCommand makes a data directory that of another consensus module.
func convertCommand() *cobra.Command {
	var o options
	var to string
	cmd := &cobra.Command{
		Use:   "convert --to=raft|zab --config=zoo.cfg",
		Short: "make a stopped server's data that of another consensus module",
		Long: `convert makes the data directories of a stopped server those of another consensus module. Data, sessions
and ACLs stay as they are. All servers of an ensemble are converted, each with its own configuration, while
none of them runs; or one of them is, and the others begin with empty directories.

The first election after it needs all voters, not a majority, as that of a new ensemble.`,
		Example:      `  zkcore convert --to=raft --config=conf/zoo.cfg`,
		Args:         cobra.MaximumNArgs(1),
		SilenceUsage: true,
		RunE: func(cmd *cobra.Command, args []string) error {
			cfg, err := o.load(cmd.Flags(), args, os.Environ())
			if err != nil {
				return fmt.Errorf("invalid config, exiting abnormally: %w", err)
			}
			last, from, err := convert(vfs.OS, cfg.DataDir, cfg.DataLogDir, to)
			if err != nil {
				return err
			}
			fmt.Fprintf(cmd.OutOrStdout(), "%s: converted from %s to %s, last zxid %v\n", cfg.DataDir, from, to, last)
			return nil
		},
	}
	cmd.Flags().StringVar(&to, "to", "", "the module that the data is to be for: raft or zab")
	o.flags(cmd.Flags())
	if err := cmd.MarkFlagRequired("to"); err != nil {
		panic(err)
	}
	return cmd
}

// convert does it, and returns the last zxid and whose the data was.
func convert(fsys vfs.FS, dataDir, logDir, to string) (last consensus.Zxid, from string, err error) {
	if logDir == "" {
		logDir = dataDir
	}
	dirs := []string{dataDir}
	if filepath.Clean(logDir) != filepath.Clean(dataDir) {
		dirs = append(dirs, logDir)
	} else {
		logDir = dataDir
	}
	for _, dir := range dirs {
		if _, err := fsys.Stat(filepath.Join(dir, txnlog.VersionDir)); err != nil {
			return 0, "", err
		}
	}
	for _, dir := range dirs {
		l, lerr := fsys.Lock(filepath.Join(dir, node.LockName))
		if lerr != nil {
			err = fmt.Errorf("data directory %s: %w", dir, lerr)
			if errors.Is(lerr, vfs.ErrLocked) {
				err = &consensus.ExitError{Code: consensus.ExitLocked, Err: fmt.Errorf("%w: stop the server first", err)}
			}
			return 0, "", err
		}
		defer l.Close()
	}
	var versions []string
	for _, dir := range dirs {
		versions = append(versions, filepath.Join(dir, txnlog.VersionDir))
	}
	from, err = txnlog.ReadOwner(fsys, versions...)
	if err != nil {
		return 0, from, err
	}
	if from == "" {
		return 0, from, fmt.Errorf("%s is empty: there is nothing to convert", versions[0])
	}
	if from == to {
		return 0, from, fmt.Errorf("%s is that of %s already", versions[0], to)
	}
	do, ok := converters[[2]string{from, to}]
	if !ok {
		return 0, from, fmt.Errorf("there is no way from %s to %s", from, to)
	}
	last, err = do(fsys, dataDir, logDir)
	return last, from, err
}
