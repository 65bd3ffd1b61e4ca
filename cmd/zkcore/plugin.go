package main

import (
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"

	"github.com/zkcore/zkcore/core/config"
	"github.com/zkcore/zkcore/plugins"
	"github.com/zkcore/zkcore/plugins/consensus"
	"github.com/zkcore/zkcore/plugins/process"
	"github.com/zkcore/zkcore/plugins/storage"
)

// A choice is the module that a configuration chooses: one that is built in, or a program.
type choice struct {
	kind, value string
	builtin     bool
	path        string
}

// choose finds the module of that kind. A name that is not built in is one of a program in
// zkcore.plugin.dir.
func choose(cfg *config.Config, kind, value string) (choice, error) {
	c := choice{kind: kind, value: value}
	if plugins.IsPath(value) {
		path, err := filepath.Abs(value)
		c.path = path
		return c, err
	}
	var unknown error
	switch kind {
	case plugins.KindConsensus:
		_, unknown = builtin.OpenConsensus(value)
	default:
		_, unknown = builtin.OpenStorage(value)
	}
	if unknown == nil {
		c.builtin = true
		return c, nil
	}
	if cfg.Plugins.Dir == "" {
		return c, fmt.Errorf("%w; a program of that kind is given by its path, or looked for in zkcore.plugin.dir, which is not set", unknown)
	}
	if err := process.CheckDir(cfg.Plugins.Dir); err != nil {
		return c, &config.Error{Origin: cfg.Origin("zkcore.plugin.dir"), Key: "zkcore.plugin.dir", Reason: err.Error()}
	}
	c.path = filepath.Join(cfg.Plugins.Dir, plugins.FileName(kind, value))
	if _, err := os.Lstat(c.path); errors.Is(err, fs.ErrNotExist) {
		return c, fmt.Errorf("%w; and there is no %s", unknown, c.path)
	}
	return c, nil
}

// process is how the choice's program is run.
func (c choice) process(cfg *config.Config, log *slog.Logger, m consensus.Metrics, s *supervisor) process.Config {
	name := plugins.Name(c.path)
	p := process.Config{
		Path: c.path, SHA256: cfg.Plugins.SHA256[name], Name: name, Timeout: cfg.Plugins.Timeout,
		RunDir: filepath.Join(cfg.DataDir, ".modules", c.kind),
		// A record is no larger than what a client may send, and what goes to a peer as one
		// piece not much larger than some of them.
		MaxMessage: max(64<<20, 2*(cfg.JuteMaxBuffer+cfg.JuteExtraSize)), Log: log, Metrics: m,
	}
	if s != nil {
		p.OnDeath, p.Running = s.died, &s.running
	}
	return p
}

// openers are how the two modules are opened.
func openers(cfg *config.Config, log *slog.Logger, m consensus.Metrics, s *supervisor) (oc consensus.Open, os storage.Open, err error) {
	cc, err := choose(cfg, plugins.KindConsensus, cfg.Consensus)
	if err != nil {
		return nil, nil, unusable(cfg, "consensus", err)
	}
	sc, err := choose(cfg, plugins.KindStorage, cfg.Storage)
	if err != nil {
		return nil, nil, unusable(cfg, "storage", err)
	}
	if cc.builtin {
		oc, _ = builtin.OpenConsensus(cc.value)
	} else {
		oc = process.Consensus(cc.process(cfg, log, m, s))
	}
	if sc.builtin {
		os, _ = builtin.OpenStorage(sc.value)
	} else {
		os = process.CachedStorage(sc.process(cfg, log, m, s), cfg.Plugins.CacheBytes, log)
	}
	return oc, os, nil
}
