package txnlog

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"syscall"
	"testing"

	"github.com/zkcore/zkcore/core/vfs"
	"github.com/zkcore/zkcore/plugins/consensus"
)

// A story is a run of a log's owner. It notes what it may rely on: after any
// crash the log ends between low and high.
type story struct {
	low, high consensus.Zxid
	first     consensus.Zxid // the first that must still be there
	list      string
	size      func(consensus.Zxid) int
	steps     []string
}

// run plays a random owner of a log: batches, syncs after some of them, new files,
// cuts, purges, and a restart. It ends at the first error.
func (s *story) run(fsys vfs.FS, seed uint64) (err error) {
	rng := rand.New(rand.NewPCG(seed, 1))
	s.first = 1
	s.list = []string{"", "/d/segments"}[seed%2]
	o := Options{PreAllocKB: []int64{0, 1, 4}[seed%3], List: s.list}
	l, _, err := OpenLog(fsys, "/d", o)
	if err != nil {
		return err
	}
	for range 40 {
		s.steps = append(s.steps, "")
		step := &s.steps[len(s.steps)-1]
		switch what := rng.IntN(20); {
		case what < 10:
			var batch []consensus.Txn
			for range 1 + rng.IntN(4) {
				z := l.Last() + consensus.Zxid(len(batch)) + 1
				batch = append(batch, create(z, s.size(z)))
			}
			*step = fmt.Sprintf("append %d..%d", batch[0].Zxid, batch[len(batch)-1].Zxid)
			s.high = batch[len(batch)-1].Zxid
			err = l.Append(batch)
		case what < 15:
			var z consensus.Zxid
			z, err = l.Sync()
			*step = fmt.Sprintf("sync %d", z)
			if err == nil {
				s.low = z
			}
		case what < 16:
			*step = "preallocate"
			err = l.Preallocate()
		case what < 17:
			*step = "roll"
			l.Roll()
		case what < 18:
			z := l.Last() - consensus.Zxid(rng.IntN(6))
			if z < max(l.First(), s.first) || z < 1 {
				continue
			}
			*step = fmt.Sprintf("truncate %d", z)
			s.low = min(s.low, z)
			if err = l.TruncateTo(z); err == nil {
				s.high = z
				if z < l.Durable() || z == l.Last() && z != s.low {
					// TruncateTo its own last zxid makes nothing durable.
					_, err = l.Sync()
				}
				if err == nil {
					s.low = z
				}
			}
		case what < 19:
			needed := max(s.low-consensus.Zxid(rng.IntN(5)), 1)
			*step = fmt.Sprintf("purge %d", needed)
			s.first = max(s.first, needed)
			_, err = l.Purge(needed)
		default:
			*step = "restart"
			if rng.IntN(2) == 0 {
				if err = l.Close(); err == nil {
					s.low = s.high
				}
			}
			if err == nil {
				var rec Recovery
				o.From = s.from()
				if l, rec, err = OpenLog(fsys, "/d", o); err == nil {
					s.low = rec.Last
				}
			}
		}
		if err != nil {
			return err
		}
	}
	return l.Close()
}

// from is the zxid of a snapshot that the owner surely has.
func (s *story) from() consensus.Zxid {
	if s.first == 1 {
		return 0
	}
	return s.first
}

// check opens what is left and holds it against the story.
func (s *story) check(left *vfs.Mem) error {
	for range 2 {
		var seen []consensus.Txn
		_, rec, err := OpenLog(left, "/d", Options{From: s.from(), PreAllocKB: 1, List: s.list, Visit: func(x consensus.Txn) error {
			seen = append(seen, consensus.Txn{Zxid: x.Zxid, Data: bytes.Clone(x.Data)})
			return nil
		}})
		if err != nil {
			return err
		}
		if rec.Last < s.low || rec.Last > max(s.high, s.from()) {
			return fmt.Errorf("ends with %v, must be in [%v, %v]: %+v", rec.Last, s.low, s.high, rec)
		}
		z := s.from()
		for _, x := range seen {
			z++
			if x.Zxid != z || !bytes.Equal(x.Data, create(z, s.size(z)).Data) {
				return fmt.Errorf("found %v where %v should be, or not its content", x.Zxid, z)
			}
		}
		if z != rec.Last {
			return fmt.Errorf("records end at %v, recovery says %+v", z, rec)
		}
		// What was reported is durable, and it can go on.
		left = left.Crash(vfs.LoseAll, 0)
		s.low, s.high = rec.Last, rec.Last
		l, _, err := OpenLog(left, "/d", Options{From: s.from(), List: s.list})
		if err != nil {
			return fmt.Errorf("opened again: %w", err)
		}
		if l.Last() != rec.Last {
			return fmt.Errorf("opened again it ends with %v, before with %v", l.Last(), rec.Last)
		}
		z = rec.Last + 1
		if err := l.Append([]consensus.Txn{create(z, s.size(z))}); err != nil {
			return err
		}
		if _, err := l.Sync(); err != nil {
			return err
		}
		s.low, s.high = z, z
		left = left.Crash(vfs.LoseAll, 0)
	}
	return nil
}

// TestCrashEverywhere stops a run before each of its operations and opens what
// each kind of loss leaves.
func TestCrashEverywhere(t *testing.T) {
	states, torn := 0, 0
	for seed := range uint64(12) {
		sizes := []func(consensus.Zxid) int{
			func(consensus.Zxid) int { return 30 },
			func(z consensus.Zxid) int { return int(z*397) % 1500 },
		}
		size := sizes[seed/3%2]
		all := newMem(t)
		base := all.Ops()
		if err := (&story{size: size}).run(all, seed); err != nil {
			t.Fatalf("seed %d: %v", seed, err)
		}
		for stop := base; stop <= all.Ops(); stop++ {
			m := newMem(t)
			m.StopAt(stop)
			s := &story{size: size}
			if err := s.run(m, seed); err != nil && !errors.Is(err, vfs.ErrCrashed) {
				t.Fatalf("seed %d, stop %d: %v", seed, stop, err)
			}
			for loss, n := range map[vfs.Loss]uint64{vfs.LoseAll: 1, vfs.LoseNone: 1, vfs.LoseSome: 8} {
				for try := range n {
					states++
					c := *s
					left := m.Crash(loss, try)
					if err := c.check(left); err != nil {
						t.Fatalf("seed %d, stopped before operation %d, loss %d, try %d: %v\nsteps %q", seed, stop, loss, try, err, s.steps)
					}
					names, err := left.ReadDir("/d")
					must(t, err)
					for _, n := range names {
						if len(n) > 5 && n[:5] == "torn." {
							torn++
							break
						}
					}
				}
			}
		}
	}
	t.Logf("%d states, %d with a torn tail", states, torn)
	if states < 2000 || torn < 100 {
		t.Errorf("%d states, %d with a torn tail: too few to mean anything", states, torn)
	}
}

// TestErrorEverywhere fails each operation once. The owner stops, as it must; what
// it had synced is there, and no error is passed over.
func TestErrorEverywhere(t *testing.T) {
	size := func(z consensus.Zxid) int { return int(z*397) % 900 }
	for seed := range uint64(6) {
		clean := vfs.NewErrors(newMem(t), func(vfs.Op) error { return nil })
		if err := (&story{size: size}).run(clean, seed); err != nil {
			t.Fatal(err)
		}
		for i := range clean.Ops() {
			for _, fail := range []error{syscall.EIO, syscall.ENOSPC} {
				m := newMem(t)
				s := &story{size: size}
				var failed vfs.Op
				err := s.run(vfs.NewErrors(m, func(op vfs.Op) error {
					if op.N != i {
						return nil
					}
					failed = op
					return fail
				}), seed)
				// Closing a file that was only read tells nothing.
				if !errors.Is(err, fail) && (failed.Kind != "close" || err != nil) {
					t.Fatalf("seed %d, operation %+v: %v is passed over: %v", seed, failed, fail, err)
				}
				for _, left := range []*vfs.Mem{m.Crash(vfs.LoseAll, 0), m.Crash(vfs.LoseNone, 0), m.Crash(vfs.LoseSome, seed)} {
					c := *s
					if err := c.check(left); err != nil {
						t.Fatalf("seed %d, operation %d failed with %v: %v\nsteps %q", seed, i, fail, err, s.steps)
					}
				}
			}
		}
	}
}

// TestCrashWhileCutting stops cuts across several files at each operation.
func TestCrashWhileCutting(t *testing.T) {
	for name, tc := range map[string]struct {
		cut func(*Log) error
		low consensus.Zxid
	}{
		"truncate": {func(l *Log) error { return l.TruncateTo(5) }, 5},
		"reset":    {func(l *Log) error { return l.Reset(0) }, 0},
	} {
		t.Run(name, func(t *testing.T) {
			stops := 0
			for stop, done := 0, false; !done; stop++ {
				m := newMem(t)
				l, _ := open(t, m, Options{PreAllocKB: 1})
				for z := consensus.Zxid(1); z <= 16; z += 4 {
					l.Roll()
					appendRange(t, l, z, z+3, 200)
				}
				syncLog(t, l)
				m.StopAt(m.Ops() + stop)
				err := tc.cut(l)
				done = err == nil
				stops++
				for try := range uint64(10) {
					_, rec, oerr := OpenLog(m.Crash(vfs.LoseSome, try), "/d", Options{})
					if oerr != nil || rec.Last < tc.low || done && rec.Last != tc.low {
						t.Fatalf("stopped before operation %d (%v), try %d: %+v, %v", stop, err, try, rec, oerr)
					}
				}
			}
			if stops < 5 {
				t.Fatalf("only %d operations", stops)
			}
		})
	}
}

// TestAppendDuringSync: a sync vouches for what was appended before it began, in
// what it returns and in the marks that follow.
func TestAppendDuringSync(t *testing.T) {
	m := newMem(t)
	var l *Log
	armed := false
	e := vfs.NewErrors(m, func(op vfs.Op) error {
		if armed && op.Kind == "sync" {
			armed = false
			return l.Append([]consensus.Txn{create(3, 400), create(4, 400)})
		}
		return nil
	})
	l, _ = open(t, e, Options{PreAllocKB: 64})
	appendRange(t, l, 1, 2, 400)
	armed = true
	if z := syncLog(t, l); z != 2 || l.Durable() != 2 || l.Last() != 4 {
		t.Fatalf("synced %v, durable %v, last %v", z, l.Durable(), l.Last())
	}
	two := int64(headerSize + 2*len(appendRecord(nil, create(1, 400).Data)))
	mark := func() int64 {
		t.Helper()
		b := get(t, m, "log.1")
		at, synced, ok := parseMark(b[l.end:], 1)
		if !ok || at != l.end {
			t.Fatal("no mark behind the last record")
		}
		return synced
	}
	if got := mark(); got != headerSize {
		t.Errorf("mark of the write during the sync vouches for %d", got)
	}
	appendRange(t, l, 5, 5, 10)
	if got := mark(); got != two {
		t.Errorf("mark of the next write vouches for %d, want %d", got, two)
	}
	if z := syncLog(t, l); z != 5 {
		t.Fatalf("synced %v", z)
	}
}

// TestStartSyncsNames: a file that a start has read is there after a crash.
func TestStartSyncsNames(t *testing.T) {
	m := newMem(t)
	f, err := m.Create("/d/log.1")
	must(t, err)
	_, err = f.Write(appendRecord(appendHeader(nil, 0), create(1, 10).Data))
	must(t, err)
	open(t, m, Options{})
	if _, rec := open(t, m.Crash(vfs.LoseAll, 0), Options{}); rec.Last != 1 {
		t.Fatalf("after a crash: %+v", rec)
	}
}
