package zab

import (
	"errors"
	"fmt"
	"io/fs"
	"math"
	"time"

	"github.com/zkcore/zkcore/consensus-zab/protocol"
	"github.com/zkcore/zkcore/core/member"
	"github.com/zkcore/zkcore/core/txnlog"
	"github.com/zkcore/zkcore/core/vfs"
	"github.com/zkcore/zkcore/plugins/consensus"
)

// Open starts a member on the files of this machine.
func Open(cfg consensus.Config, n consensus.Node) (consensus.Member, error) {
	return OpenFS(vfs.OS)(cfg, n)
}

// OpenFS is Open on another file system.
func OpenFS(fsys vfs.FS) consensus.Open {
	return func(cfg consensus.Config, n consensus.Node) (consensus.Member, error) {
		o := parseOptions(cfg.Options, cfg.Log)
		m := member.Meter{To: cfg.Metrics}
		s, err := openData(fsys, cfg, &o, n)
		if err != nil {
			return nil, err
		}
		g := member.NewGauge(fsys, cfg, o.reserve)
		j := member.NewJournal(s.log, g, o.fsyncWarn, cfg.Fail, cfg.Log, m)
		c := member.NewCaller(n, o.queueBytes)
		if len(cfg.Servers) == 0 {
			alone := member.NewStandalone(cfg, s.log, j, c)
			go j.Run()
			go c.Run()
			go g.Watch(c.Done())
			alone.Start(s.base, s.last)
			return alone, nil
		}
		return openEnsemble(fsys, cfg, o, s, j, c)
	}
}

// A store is what was found on the disk.
type store struct {
	log  *txnlog.Log
	base consensus.Zxid // the state that the node recovered
	last consensus.Zxid // of the log, or base
	runs []protocol.Run // what the log holds above base
	// initialize says that the operator's file of that name was there: an empty disk is
	// that of a new server.
	initialize bool
}

// openData opens what is on the disk. What is damaged is set aside, if there are others
// to get it from.
func openData(fsys vfs.FS, cfg consensus.Config, o *options, n consensus.Node) (store, error) {
	if len(cfg.Servers) > 0 {
		if _, _, err := checked(cfg); err != nil {
			return store{}, err
		}
	}
	if owner, err := txnlog.ReadOwner(fsys, member.Version2(cfg.DataDir), member.Version2(cfg.LogDir)); err != nil {
		return store{}, err
	} else if owner != "" && owner != txnlog.Zab {
		return store{}, &consensus.OwnerError{Dir: member.Version2(cfg.DataDir), Owner: owner, Want: txnlog.Zab}
	}
	s, err := openStore(fsys, cfg, o, n)
	switch {
	case err == nil && len(cfg.Servers) == 0:
		return s, mayStandAlone(fsys, cfg)
	case err == nil || !errors.Is(err, consensus.ErrDamaged):
		return s, err
	case len(cfg.Servers) == 0:
		return s, &consensus.ExitError{Code: consensus.ExitDamage, Err: err}
	}
	if err := setAside(fsys, cfg, n, err); err != nil {
		return s, fmt.Errorf("set damaged data aside: %w", err)
	}
	initialize := s.initialize
	s, err = openStore(fsys, cfg, o, n)
	s.initialize = s.initialize || initialize
	return s, err
}

// openStore recovers the node and opens the log that continues its state.
func openStore(fsys vfs.FS, cfg consensus.Config, o *options, n consensus.Node) (store, error) {
	var s store
	dir := member.Version2(cfg.LogDir)
	if _, err := fsys.Stat(dir); err != nil {
		if !errors.Is(err, fs.ErrNotExist) {
			return s, fmt.Errorf("dataLogDir: %w", err)
		}
		if v := cfg.Options["datadir.autocreate"]; v == "false" {
			return s, fmt.Errorf("dataLogDir: %s does not exist, and datadir.autocreate is false", dir)
		}
		if err := fsys.MkdirAll(dir); err != nil {
			return s, fmt.Errorf("dataLogDir: %w", err)
		}
	}
	if err := fsys.MkdirAll(member.Version2(cfg.DataDir)); err != nil {
		return s, fmt.Errorf("dataDir: %w", err)
	}
	// The node may remove it.
	mark := cfg.LogDir + "/initialize"
	switch _, err := fsys.Stat(mark); {
	case err == nil:
		s.initialize = true
	case !errors.Is(err, fs.ErrNotExist):
		return s, err // not to know whether there is a mark is not to know that there is none
	}
	base, err := n.Recover(math.MaxInt64)
	if err != nil {
		return s, err
	}
	if err := fsys.Remove(mark); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return s, err
	}
	// It must not be there again after a power cut, when something may have been acknowledged; also if a
	// start before this one has removed it.
	if err := fsys.SyncDir(cfg.LogDir); err != nil {
		return s, err
	}
	if len(cfg.Servers) > 0 {
		// A damaged epoch file is found here, before anything is written.
		for _, name := range []string{txnlog.AcceptedEpoch, txnlog.CurrentEpoch} {
			if _, _, err := txnlog.ReadEpoch(fsys, member.Version2(cfg.DataDir), name); err != nil {
				return s, err
			}
		}
	}
	// A snapshot that the node could not read says how far this server was.
	newest, err := txnlog.NewestName(fsys, member.Version2(cfg.DataDir))
	if err != nil {
		return s, err
	}
	if newest > base {
		// Was it a leader's, the log begins behind it, and at an epoch's begin the zxids show no hole.
		first := base + 1
		if base == 0 {
			first = consensus.MakeZxid(1, 1)
		}
		if whole, err := txnlog.BeginsAtOrBelow(fsys, dir, first); err != nil {
			return s, err
		} else if !whole {
			return s, fmt.Errorf("%s can't be read, and the log in %s does not reach down to what can be read instead, at %v: %w",
				txnlog.SnapshotName(newest), dir, base, consensus.ErrDamaged)
		}
	}
	start := time.Now()
	l, rec, err := txnlog.OpenLog(fsys, dir, txnlog.Options{
		From: base, AtLeast: newest, List: member.Version2(cfg.DataDir) + "/" + listFile, PreAllocKB: o.preAllocKB, NoSync: o.noSync, SizeLimitKB: o.logSizeKB, MaxRecord: o.maxRecord,
		Visit: func(t consensus.Txn) error {
			s.runs = addRun(s.runs, t.Zxid)
			return nil
		},
	})
	if err != nil {
		return s, fmt.Errorf("transaction log in %s: %w", dir, err)
	}
	if rec.TornFile != "" {
		cfg.Log.Warn("transaction log: the end of the last file was not written completely and was cut; nothing of it was acknowledged",
			"file", rec.TornFile, "offset", rec.TornOffset, "bytes", rec.CutBytes, "reason", rec.TornReason, "copy", rec.TornCopy)
	}
	for _, f := range rec.Removed {
		cfg.Log.Info("transaction log: file removed: it holds no transaction, or ends before the snapshot", "file", f)
	}
	if rec.Repeated > 0 {
		cfg.Log.Warn("transaction log: transactions that repeat earlier zxids were passed over", "count", rec.Repeated)
	}
	cfg.Log.Info("transaction log read", "snapshot", base, "last", rec.Last, "transactions", rec.Records,
		"files", rec.Files, "ms", time.Since(start).Milliseconds())
	if cfg.Metrics != nil {
		cfg.Metrics.Observe("startup_txns_loaded", float64(rec.Records))
	}
	s.log, s.base, s.last = l, base, rec.Last
	return s, nil
}

func addRun(runs []protocol.Run, z consensus.Zxid) []protocol.Run {
	if n := len(runs); n > 0 && runs[n-1].Last+1 == z && z.Counter() != 0 {
		runs[n-1].Last = z
		return runs
	}
	return append(runs, protocol.Run{First: z, Last: z})
}

// newestSnapshot is the size of the newest snapshot in dir, 0 if there is none.
func newestSnapshot(fsys vfs.FS, dir string) (int64, error) {
	files, err := txnlog.ListSnapshots(fsys, dir)
	if err != nil || len(files) == 0 {
		return 0, err
	}
	return files[0].Size, nil
}
