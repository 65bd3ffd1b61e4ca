package raft

import (
	"errors"
	"fmt"
	"io/fs"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/zkcore/zkcore/consensus-raft/protocol"
	"github.com/zkcore/zkcore/core/member"
	"github.com/zkcore/zkcore/core/txnlog"
	"github.com/zkcore/zkcore/core/vfs"
	"github.com/zkcore/zkcore/plugins/consensus"
)

// Name is what a data directory calls this module.
const Name = "raft"

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
			alone.Start(s.found.Recovered, s.found.Last)
			return alone, nil
		}
		return openEnsemble(fsys, cfg, o, s, j, c)
	}
}

// A store is what was found on the disk.
type store struct {
	log   *txnlog.Log
	found protocol.Found
	// initialize says that the operator's file of that name was there: an empty disk is
	// that of a new server.
	initialize bool
}

// listFile, beside the state file, says which files the log has.
const listFile = "segments"

// openData opens what is on the disk. What is damaged is set aside, if there are others
// to get it from.
func openData(fsys vfs.FS, cfg consensus.Config, o *options, n consensus.Node) (store, error) {
	if len(cfg.Servers) > 0 {
		if _, err := checked(cfg); err != nil {
			return store{}, err
		}
	}
	owned, err := claim(fsys, cfg)
	if err != nil {
		return store{}, err
	}
	initialize, err := marked(fsys, cfg)
	if err != nil {
		return store{}, err
	}
	s, err := openStore(fsys, cfg, o, n, owned)
	switch {
	case err == nil:
	case !errors.Is(err, consensus.ErrDamaged):
		return s, err
	case len(cfg.Servers) == 0:
		return s, &consensus.ExitError{Code: consensus.ExitDamage, Err: err}
	default:
		if err := setAside(fsys, cfg, n, err); err != nil {
			return s, fmt.Errorf("set damaged data aside: %w", err)
		}
		if s, err = openStore(fsys, cfg, o, n, true); err != nil {
			return s, err
		}
	}
	s.initialize = initialize
	// The node may have removed it.
	if err := fsys.Remove(cfg.LogDir + "/initialize"); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return s, err
	}
	// It must not be there again after a power cut, when something may have been acknowledged; also if a
	// start before this one has removed it.
	if err := fsys.SyncDir(cfg.LogDir); err != nil {
		return s, err
	}
	if len(cfg.Servers) == 0 {
		return s, standAlone(fsys, cfg, &s)
	}
	return s, stand(fsys, cfg, o, &s)
}

// claim makes the directories this module's. owned says that they were before.
func claim(fsys vfs.FS, cfg consensus.Config) (owned bool, err error) {
	dirs := []string{member.Version2(cfg.DataDir)}
	if cfg.LogDir != cfg.DataDir {
		dirs = append(dirs, member.Version2(cfg.LogDir))
	}
	for i := len(dirs) - 1; i >= 0; i-- {
		dir := dirs[i]
		if _, err := fsys.Stat(dir); err != nil {
			if !errors.Is(err, fs.ErrNotExist) {
				return false, fmt.Errorf("data directory: %w", err)
			}
			if v := cfg.Options["datadir.autocreate"]; v == "false" {
				return false, fmt.Errorf("%s does not exist, and datadir.autocreate is false", dir)
			}
			if err := fsys.MkdirAll(dir); err != nil {
				return false, fmt.Errorf("data directory: %w", err)
			}
		}
	}
	owner, err := txnlog.ReadOwner(fsys, dirs...)
	if err != nil {
		return false, err
	}
	if owner != "" && owner != Name {
		return false, &consensus.OwnerError{Dir: dirs[0], Owner: owner, Want: Name}
	}
	for _, dir := range dirs {
		if err := txnlog.WriteOwner(fsys, dir, Name); err != nil {
			return false, err
		}
	}
	return owner == Name, nil
}

// marked says whether the operator's file initialize is there.
func marked(fsys vfs.FS, cfg consensus.Config) (bool, error) {
	switch _, err := fsys.Stat(cfg.LogDir + "/initialize"); {
	case err == nil:
		return true, nil
	case errors.Is(err, fs.ErrNotExist):
		return false, nil
	default:
		return false, err // not to know whether there is a mark is not to know that there is none
	}
}

// openStore recovers the node and opens the log that continues its state.
func openStore(fsys vfs.FS, cfg consensus.Config, o *options, n consensus.Node, owned bool) (store, error) {
	var s store
	base, err := n.Recover(math.MaxInt64)
	if err != nil {
		return s, err
	}
	s.found.Recovered = base
	dir := member.Version2(cfg.LogDir)
	st, there, err := readState(fsys, cfg.DataDir)
	if err != nil {
		return s, err
	}
	if !there {
		st.Standing = protocol.Blank
		if owned {
			used, err := holds(fsys, dir, "log.")
			if err == nil && !used {
				used, err = base > 0, nil
			}
			if err != nil {
				return s, err
			}
			if used {
				return s, fmt.Errorf("%s is missing, and there are transactions: %w", stateName(cfg.DataDir), consensus.ErrDamaged)
			}
		}
	}
	if p := st.Pending; p.Index != 0 {
		if p.Zxid == base {
			if err := takeOver(fsys, cfg, &st); err != nil {
				return s, err
			}
		}
		st.Pending = protocol.Point{}
		if err := writeState(fsys, cfg.DataDir, st.Encode()); err != nil {
			return s, err
		}
	}
	// A snapshot that the node could not read says how far this server was.
	newest, err := txnlog.NewestName(fsys, member.Version2(cfg.DataDir))
	if err != nil {
		return s, err
	}
	start := time.Now()
	l, rec, err := txnlog.OpenLog(fsys, dir, txnlog.Options{
		From: base, AtLeast: newest, List: member.Version2(cfg.DataDir) + "/" + listFile, PreAllocKB: o.preAllocKB, NoSync: o.noSync, SizeLimitKB: o.logSizeKB, MaxRecord: o.maxRecord,
		Visit: func(t consensus.Txn) error {
			s.found.Runs = addRun(s.found.Runs, t.Zxid)
			return nil
		},
	})
	if err != nil {
		return s, fmt.Errorf("transaction log in %s: %w", dir, err)
	}
	s.log, s.found.Last = l, rec.Last
	if rec.TornFile != "" {
		cfg.Log.Warn("transaction log: the end of the last file was not written completely and was cut; nothing of it was acknowledged",
			"file", rec.TornFile, "offset", rec.TornOffset, "bytes", rec.CutBytes, "reason", rec.TornReason, "copy", rec.TornCopy)
	}
	for _, f := range rec.Removed {
		cfg.Log.Info("transaction log: file removed: it holds no transaction, or ends before the snapshot", "file", f)
	}
	if st.Cut {
		if err := cutOff(l, &s.found, st.CutTo); err != nil {
			return s, fmt.Errorf("transaction log in %s: cut behind %v: %w", dir, st.CutTo, err)
		}
		st.Cut, st.CutTo = false, 0
		if err := writeState(fsys, cfg.DataDir, st.Encode()); err != nil {
			return s, err
		}
	}
	s.found.State = st
	if !st.Alone && there {
		if err := s.found.Check(); err != nil {
			return s, fmt.Errorf("%s: %w", stateName(cfg.DataDir), err)
		}
	}
	cfg.Log.Info("transaction log read", "snapshot", base, "last", s.found.Last, "term", st.Term, "transactions", rec.Records,
		"files", rec.Files, "ms", time.Since(start).Milliseconds())
	if cfg.Metrics != nil {
		cfg.Metrics.Observe("startup_txns_loaded", float64(rec.Records))
	}
	return s, nil
}

// cutOff does what was begun before.
func cutOff(l *txnlog.Log, f *protocol.Found, to consensus.Zxid) error {
	if f.Last <= to {
		return nil
	}
	if err := truncate(l, to, to == f.Recovered); err != nil {
		return err
	}
	f.Last = to
	var runs []protocol.Run
	for _, r := range f.Runs {
		if r.First <= to {
			runs = append(runs, protocol.Run{First: r.First, Last: min(r.Last, to)})
		}
	}
	f.Runs = runs
	return nil
}

// truncate makes to the last txn of the log. base says that it is where the log begins,
// and so need not be in it.
func truncate(l *txnlog.Log, to consensus.Zxid, base bool) error {
	err := l.TruncateTo(to)
	if base && errors.Is(err, txnlog.ErrNotInLog) {
		err = l.Reset(to)
	}
	return err
}

// takeOver ends what Pending says was begun: the state is the leader's, and what the log
// holds is of another history, or older.
func takeOver(fsys vfs.FS, cfg consensus.Config, st *protocol.State) error {
	data, dir := member.Version2(cfg.DataDir), member.Version2(cfg.LogDir)
	// First the list: while it is there, it says that files are missing.
	for _, name := range []string{data + "/" + listFile} {
		if err := fsys.Remove(name); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	if err := fsys.SyncDir(data); err != nil {
		return err
	}
	names, err := fsys.ReadDir(dir)
	if err != nil {
		return err
	}
	for _, name := range slices.Backward(names) {
		if strings.HasPrefix(name, "log.") {
			if err := fsys.Remove(dir + "/" + name); err != nil {
				return err
			}
		}
	}
	if err := fsys.SyncDir(dir); err != nil {
		return err
	}
	// Whether it has all that this server acknowledged on an earlier disk nobody knows any more: who had no
	// vote has none.
	st.TakeOver()
	return nil
}

func addRun(runs []protocol.Run, z consensus.Zxid) []protocol.Run {
	if n := len(runs); n > 0 && runs[n-1].Last+1 == z && z.Counter() != 0 {
		runs[n-1].Last = z
		return runs
	}
	return append(runs, protocol.Run{First: z, Last: z})
}

// holds says whether a file's name in dir begins so.
func holds(fsys vfs.FS, dir, prefix string) (bool, error) {
	names, err := fsys.ReadDir(dir)
	if err != nil {
		return false, err
	}
	return slices.ContainsFunc(names, func(n string) bool { return strings.HasPrefix(n, prefix) }), nil
}

// checked is this server in a configuration that can be used. Nothing on the disk is
// touched before.
func checked(cfg consensus.Config) (self consensus.Server, err error) {
	found, n := false, 0
	seen := map[consensus.ServerID]bool{}
	for _, v := range cfg.Servers {
		key := fmt.Sprintf("server.%d", v.ID)
		switch {
		case v.ID <= 0:
			return self, errKey(key, "under raft the numbers of servers begin with 1")
		case seen[v.ID]:
			return self, errKey(key, "it is there twice")
		case len(v.Quorum) == 0 || len(v.Election) == 0:
			return self, errKey(key, "it needs a quorum and an election address")
		case v.Group != 0 || !v.Observer && v.Weight != 1 && v.Weight != 0:
			return self, errKey(key, "raft counts majorities: it has no groups and no weights")
		}
		seen[v.ID] = true
		if !v.Observer {
			n++
		}
		if v.ID == cfg.ID {
			self, found = v, true
		}
	}
	switch {
	case !found:
		return self, errKey("myid", "server %d is not in the list of servers", cfg.ID)
	case n == 0:
		return self, errKey("server", "there are only observers")
	case cfg.Tick <= 0 || cfg.InitLimit <= 0 || cfg.SyncLimit <= 0:
		return self, errKey("tickTime, initLimit, syncLimit", "they must be positive in an ensemble")
	}
	return self, nil
}

func voters(cfg consensus.Config) (ids []consensus.ServerID)    { return members(cfg, false) }
func observers(cfg consensus.Config) (ids []consensus.ServerID) { return members(cfg, true) }

func members(cfg consensus.Config, observer bool) (ids []consensus.ServerID) {
	for _, s := range cfg.Servers {
		if s.Observer == observer {
			ids = append(ids, s.ID)
		}
	}
	slices.Sort(ids)
	return ids
}
