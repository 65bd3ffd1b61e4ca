package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"os/signal"
	"path/filepath"
	"runtime/debug"
	"strings"
	"syscall"
	"time"

	"github.com/zkcore/zkcore/core/admin"
	"github.com/zkcore/zkcore/core/config"
	"github.com/zkcore/zkcore/core/conn"
	"github.com/zkcore/zkcore/core/inv"
	"github.com/zkcore/zkcore/core/metrics"
	"github.com/zkcore/zkcore/core/node"
	"github.com/zkcore/zkcore/core/txnlog"
	"github.com/zkcore/zkcore/plugins"
	"github.com/zkcore/zkcore/plugins/consensus"
	"github.com/zkcore/zkcore/plugins/storage"
)

// run serves until a signal ends it.
func run(ctx context.Context, cfg *config.Config, crashes int, out io.Writer) error {
	if ctx == nil {
		ctx = context.Background()
	}
	ctx, stop := signal.NotifyContext(ctx, syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	log := newLogger(out, slog.LevelInfo, cfg.ServerID)
	log.Info("zkcore starts", "version", admin.Release(), "compatible", admin.Compat, "config", cfg.File, "consensus", cfg.Consensus,
		"storage", cfg.Storage, "dataDir", cfg.DataDir, "pid", os.Getpid())
	for _, w := range cfg.Warnings {
		log.Warn("configuration: " + w.String())
	}
	if cfg.MemoryLimit > 0 {
		debug.SetMemoryLimit(cfg.MemoryLimit)
	}
	inv.Stop = func(b inv.Broken) {
		log.Error("stopping at once: "+b.Error(), "exit", consensus.ExitInvariant, "stack", string(debug.Stack()))
		os.Exit(consensus.ExitInvariant)
	}
	registry := metrics.New(nil)
	super := newSupervisor(log, cfg.Plugins.MaxCrashes, crashes)
	defer context.AfterFunc(ctx, func() {
		stop() // a second signal ends it the hard way
		super.stop()
	})()
	openConsensus, openStorage, err := openers(cfg, log, registry, super)
	if err != nil {
		return err
	}
	if super.wait(ctx) != nil {
		log.Info("stopped: a signal asks for it")
		return nil
	}
	words := &admin.Words{Config: cfg, Metrics: registry, Log: log, Descriptors: descriptors, Refusals: new(admin.Limiter)}
	nc := nodeConfig(cfg)
	nc.OpenConsensus, nc.OpenStorage = openConsensus, openStorage
	nc.Log, nc.Metrics = log, registry
	nc.Fail = func(code int, _ error) { os.Exit(code) } // the node has logged why
	nc.FourLetter = func(n *node.Node, word string, c net.Conn) bool {
		w := *words
		w.Source = source{n, cfg.SessionlessTimeout, c.RemoteAddr().String()}
		return w.Answer(word, c)
	}
	n, err := node.Start(ctx, nc)
	if err != nil {
		if err := unusableOption(cfg, err); err != nil {
			return err
		}
		if o := (*consensus.OwnerError)(nil); errors.As(err, &o) {
			return unusable(cfg, "consensus", errors.New(o.Text(cfg.File)))
		}
		return report(log, "can't start", err)
	}
	super.up(n)
	if cfg.MetricsEnabled {
		w := *words
		w.Source = source{n, cfg.SessionlessTimeout, ""}
		addr, err := w.Serve(ctx, cfg.MetricsHost, cfg.MetricsPort, log)
		if err != nil {
			return report(log, "can't start", closeAfter(n, err))
		}
		log.Info("metrics", "addr", addr)
	}
	<-ctx.Done()
	stop()
	super.stop()
	log.Info("stopping: a signal asks for it")
	if err := n.Close(); err != nil {
		return report(log, "stopped, but not in order", err)
	}
	log.Info("stopped")
	return nil
}

func report(log *slog.Logger, what string, err error) error {
	log.Error(what, "error", err)
	return &reported{err}
}

// unusable refuses a value that the configuration's own reader could not judge.
func unusable(cfg *config.Config, key string, err error) error {
	return fmt.Errorf("invalid config, exiting abnormally: %w", &config.Error{Origin: cfg.Origin(key), Key: key, Reason: err.Error()})
}

// unusableOption is unusable if err says that the store can't use an option, else nil.
func unusableOption(cfg *config.Config, err error) error {
	if o := (*storage.OptionError)(nil); errors.As(err, &o) {
		return unusable(cfg, "zkcore.storage."+plugins.Name(cfg.Storage)+"."+o.Key, errors.New(o.Reason))
	}
	return nil
}

func closeAfter(n *node.Node, err error) error {
	if cerr := n.Close(); cerr != nil {
		return fmt.Errorf("%w; then: %v", err, cerr)
	}
	return err
}

// nodeConfig is the configuration as the node takes it.
func nodeConfig(c *config.Config) node.Config {
	id := c.ServerID
	if c.Standalone {
		id = 1 // as Apache's standalone server numbers its sessions
	}
	hold := c.ElectionHold.Milliseconds()
	if hold == 0 {
		hold = -1
	}
	snapSize := c.SnapSizeLimitKB
	if snapSize <= 0 {
		snapSize = -1
	}
	var own []byte
	if c.Standalone && !c.Mixed {
		own = make([]byte, 32)
		rand.Read(own) // never fails
	}
	var from int64
	if !c.SecretSince.IsZero() {
		from = c.SecretSince.UnixMilli() & (1<<40 - 1) << 16
	}
	return node.Config{
		SessionSecret: c.SessionSecret, SecretFrom: from, OwnSecret: own,
		ServerID: id, DataDir: c.DataDir, LogDir: c.DataLogDir, ClientAddrs: c.ClientAddrs,
		TickMS:              c.TickTime.Milliseconds(),
		MinSessionTimeoutMS: int32(c.MinSessionTimeout.Milliseconds()), MaxSessionTimeoutMS: int32(c.MaxSessionTimeout.Milliseconds()),
		MaxClientCnxns: c.MaxClientCnxns, MaxCnxns: c.MaxCnxns, JuteMaxBuffer: c.JuteMaxBuffer, JuteExtraSize: c.JuteExtraSize, OutstandingLimit: c.OutstandingLimit,
		Sessionless: c.SessionlessTimeout, HoldMS: hold, ReadOnly: c.ReadOnly,
		LocalSessions: c.LocalSessions && !c.Standalone, LocalUpgrade: c.LocalUpgrade, Mixed: c.Mixed,
		ListenBacklog:   c.ListenBacklog,
		LargeRequestMax: c.Throttling.LargeRequestMaxBytes, LargeRequestOver: c.Throttling.LargeRequestOver,
		RequestThrottle: node.RequestThrottle{
			Max: c.Throttling.MaxRequests, OpWaitMS: c.Throttling.OpWaitMS, Latency: c.Throttling.StaleLatency, KeepStale: !c.Throttling.DropStale,
		},
		ConnectionThrottle: conn.Throttle{
			Tokens: c.Throttling.Tokens, FillMS: c.Throttling.FillMS, FillCount: c.Throttling.FillCount, FreezeMS: c.Throttling.FreezeMS,
			DropIncrease: c.Throttling.DropIncrease, DropDecrease: c.Throttling.DropDecrease, DecreaseRatio: c.Throttling.DecreaseRatio,
			Weighed: c.Throttling.Weighed, GlobalWeight: c.Throttling.GlobalWeight, LocalWeight: c.Throttling.LocalWeight, RenewWeight: c.Throttling.RenewWeight,
		},
		SnapCount: int(c.SnapCount), SnapSizeLimitKB: snapSize, PurgeInterval: c.PurgeInterval, SnapRetain: c.SnapRetain,
		ClientKeepAlive: c.ClientKeepAlive, ContainerCheck: c.ContainerCheck, ContainerNeverUsed: c.ContainerNeverUsed,
		ContainersPerCheck: max(int(int64(c.ContainersPerMinute)*int64(c.ContainerCheck)/int64(time.Minute)), 1),
		SuperDigest:        c.SuperDigest, NoDigestAuth: !c.DigestAuth, SkipACL: c.SkipACL, ExtendedTypes: c.ExtendedTypes, NoDigest: !c.Digest,
		EnforceQuota: c.EnforceQuota, ReconfigEnabled: c.ReconfigEnabled, MultiAddress: c.MultiAddress, NoStandalone: c.NoStandalone,
		Consensus: consensus.Config{
			Servers: c.Members(), ConfigText: c.EnsembleText(), InitLimit: c.InitLimit, SyncLimit: c.SyncLimit,
			QuorumListenOnAllIPs: c.QuorumListenOnAllIPs, Options: c.Options,
		},
		Storage: storage.Config{Dir: storageDir(c), Options: c.StorageOptions},
	}
}

// storageDir is where a store has its files: beside the snapshots, so that who moves
// or removes those moves or removes it too.
func storageDir(c *config.Config) string {
	return filepath.Join(c.DataDir, txnlog.VersionDir, "storage-"+plugins.Name(c.Storage))
}

// descriptors counts the files that this process has open.
func descriptors() (open, limit int64) {
	if entries, err := os.ReadDir("/proc/self/fd"); err == nil {
		open = int64(len(entries)) - 1 // less the one that reads
	}
	if raw, err := os.ReadFile("/proc/self/limits"); err == nil {
		for line := range strings.Lines(string(raw)) {
			if rest, ok := strings.CutPrefix(line, "Max open files"); ok {
				var soft int64
				if _, err := fmt.Sscan(rest, &soft); err == nil {
					limit = soft
				}
			}
		}
	}
	return open, limit
}
