package sim

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/zkcore/zkcore/plugins/consensus"
	"github.com/zkcore/zkcore/plugins/storage"
	"github.com/zkcore/zkcore/plugins/storage/behind"
	bolt "github.com/zkcore/zkcore/storage-bolt"
	mem "github.com/zkcore/zkcore/storage-mem"
)

// A Store is a storage module as the simulator runs it.
type Store struct {
	Name string
	// Share is how many of a hundred runs of a test that is not told which store are on this one.
	Share int
	// OnDisk says that it has files of its own, beside the machine's simulated disk: they
	// are in a shelf.
	OnDisk bool
	Open   storage.Open
	// Check reads all that a store has on disk.
	Check func(storage.Config) error
}

// Stores are those that runs are made with.
var Stores = []Store{
	{Name: "mem", Share: 83, Open: mem.Open},
	{Name: "bolt", Share: 17, OnDisk: true, Open: bolt.Open, Check: bolt.Check},
}

// A shelf is where a machine's store has its files. bbolt maps a real file, so there is one:
// in a folder of the run's own, in memory where the system has such a place. What is written
// when is decided here, and by the commits: nothing goes on beside them.
type shelf struct {
	m      *machine
	dir    string
	open   *shelved // the store of the process that runs
	memory *memory  // the same, where it has nothing on disk
	harm   bool     // its file is not what was written, and nobody has noticed
	left   int64    // up to where it holds all, once nobody has it open
}

// treeFile is the file that a damage strikes, and that a power cut tears.
const treeFile = "tree.db"

// fastest is a place for files whose syncs cost little, where there is one.
func fastest() string {
	if st, err := os.Stat("/dev/shm"); err == nil && st.IsDir() {
		return "/dev/shm"
	}
	return os.TempDir()
}

// config is what a machine's store is opened with.
func (m *machine) storeConfig() storage.Config {
	if !m.w.store.OnDisk {
		return storage.Config{}
	}
	return storage.Config{Dir: m.shelf.dir, Options: m.w.plan.storeOptions}
}

// openStore implements storage.Open.
func (m *machine) openStore(c storage.Config) (storage.Store, error) {
	if !m.w.store.OnDisk {
		s, err := m.w.store.Open(c)
		if err != nil {
			return nil, err
		}
		m.shelf.memory = &memory{Store: s}
		return m.shelf.memory, nil
	}
	s, err := m.w.store.Open(c)
	if err != nil {
		if errors.Is(err, storage.ErrDamaged) {
			m.w.logf(m, "its store is found to be damaged")
			if !m.shelf.harm {
				m.w.fail("node %d: the store is damaged, and nobody has hurt it: %v", m.id, err)
			}
			m.shelf.harm = false
		}
		return nil, err
	}
	if z := s.Applied(); z < m.shelf.left && !m.shelf.harm && !c.Discard {
		m.w.fail("I26: node %d: the store was durable up to %#x, and is opened at %#x", m.id, m.shelf.left, z)
	}
	m.shelf.left = 0
	o := &shelved{Store: s.(*behind.Store), m: m}
	m.shelf.open = o
	m.flushes(c.Fail)
	return o, nil
}

// flushes has the store write what has gathered now and then, as it does by itself when time
// goes on.
func (m *machine) flushes(fail func(error)) {
	w := m.w
	if w.plan.flushMS == 0 {
		return
	}
	w.after(w.storeRand.Int64N(2*w.plan.flushMS)*ms, m, func() {
		o := m.shelf.open
		if o == nil || m.stopped {
			return
		}
		if err := o.Flush(context.Background()); err != nil && !errors.Is(err, storage.ErrClosed) {
			fail(err)
			return
		}
		w.logf(m, "its store is durable up to %#x", o.Durable())
		m.flushes(fail)
	})
}

// A shelved is an open store.
type shelved struct {
	*behind.Store
	m *machine
	lent
}

func (o *shelved) View() storage.View { return o.lend(o.Store.View()) }

// Reset implements storage.Store: the file is another one then, which nobody has hurt.
func (o *shelved) Reset() error {
	err := o.Store.Reset()
	if err == nil {
		o.m.shelf.harm = false
	}
	return err
}

// Close implements storage.Store.
func (o *shelved) Close() error {
	if n := len(o.views); n > 0 && !o.m.disk.failed {
		o.m.w.fail("node %d closes its store, and has not released %d views of it", o.m.id, n)
	}
	o.m.w.logf(o.m, "its store is closed")
	err := o.close(o.Store.Close)
	o.m.shelf.left = o.Durable()
	return err
}

func (o *shelved) close(how func() error) error {
	if !o.end() {
		return storage.ErrClosed
	}
	if o.m.shelf.open == o {
		o.m.shelf.open = nil
	}
	return how()
}

// kill ends the process that has the store open: what has gathered is lost, what was written
// is not.
func (s *shelf) kill() {
	if s.memory != nil {
		_ = s.memory.Close() // or the process has closed it
		s.memory = nil
	}
	if o := s.open; o != nil {
		s.left = o.Durable()
		_ = o.close(func() error { behind.Crash(o.Store); return nil })
	}
}

func (s *shelf) path() string { return filepath.Join(s.dir, treeFile) }

// powerOff does what a power cut does: it may come while what has gathered is being written.
// bbolt syncs twice, when the pages are written and when the head is that says which of them
// count; of what was written since a sync any part is left, in blocks of 512 bytes.
func (s *shelf) powerOff() {
	w := s.m.w
	if !w.store.OnDisk {
		return
	}
	r := rand.New(rand.NewPCG(w.storeRand.Uint64(), 1)) // how much is drawn depends on the file
	when := r.IntN(8)
	o := s.open
	if o == nil {
		return
	}
	if when < 4 || s.harm {
		s.kill()
		if when == 0 {
			// It was about to begin anew.
			s.must(os.WriteFile(s.path()+".new", garbage(r, r.IntN(40_000)), 0o600))
		}
		return
	}
	before, was := s.read(), o.Durable()
	err := o.Flush(context.Background())
	durable := o.Durable()
	s.kill()
	if err != nil {
		return // it can't be written any more
	}
	after := s.read()
	heads := 2 * pageSize
	switch {
	case len(before) < heads || bytes.Equal(before, after):
	case when < 6:
		w.logf(s.m, "its store was being written: the pages")
		left := append(bytes.Clone(before), make([]byte, max(0, len(after)-len(before)))...)
		s.left = was
		tear(left[heads:], after[heads:], r)
		if len(left) > len(before) && r.IntN(2) == 0 {
			left = left[:len(before)+r.IntN(len(left)-len(before))]
		}
		s.must(os.WriteFile(s.path(), left, 0o600))
	case when == 6:
		w.logf(s.m, "its store was being written: the head")
		s.left = was
		// The one that is written is not whole: the newer, of whose txn the number is higher.
		left, at := bytes.Clone(after), 0
		if boltTxn(after[pageSize:]) > boltTxn(after) {
			at = pageSize
		}
		copy(left[at:], garbage(r, 512))
		s.must(os.WriteFile(s.path(), left, 0o600))
	default:
		w.logf(s.m, "its store was being written, and was whole up to %#x", durable)
	}
}

// pageSize is that of bbolt's pages.
var pageSize = os.Getpagesize()

// boltTxn is the number of the transaction that a head of a bbolt file is of.
func boltTxn(head []byte) uint64 { return binary.NativeEndian.Uint64(head[16+48:]) }

// tear puts some of the blocks of now that left differs in into left, and makes nonsense of
// others.
func tear(left, now []byte, r *rand.Rand) {
	for at := 0; at < len(now); at += 512 {
		end := min(at+512, len(now))
		if bytes.Equal(left[at:end], now[at:end]) {
			continue
		}
		switch r.IntN(4) {
		case 0:
		case 1:
			copy(left[at:end], garbage(r, end-at))
		default:
			copy(left[at:end], now[at:end])
		}
	}
}

func garbage(r *rand.Rand, n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(r.Uint32())
	}
	return b
}

func (s *shelf) read() []byte {
	b, err := os.ReadFile(s.path())
	s.must(err)
	return b
}

func (s *shelf) must(err error) {
	if err != nil {
		s.m.w.fail("node %d: the files of its store: %w", s.m.id, err)
	}
}

// damage makes nonsense of all pages of the file. Which page has what differs from run to run,
// as bbolt goes over maps; that all have it makes the next read find it.
func (s *shelf) damage(r *rand.Rand) bool {
	if _, err := os.Stat(s.path()); err != nil || s.harm {
		return false
	}
	if !s.m.holdsOn(s.m.disk.synced(), 0, s.durable()) {
		return false // it alone has it
	}
	b := s.read()
	if len(b) <= 2*pageSize {
		return false
	}
	for at := 2 * pageSize; at+16 < len(b); at += pageSize {
		for range 4 {
			b[at+16+r.IntN(pageSize-16)] ^= 1 << r.IntN(8)
		}
		b[at] ^= 0xff // no page is the one that it says
	}
	// In place: whoever has it open has it mapped.
	f, err := os.OpenFile(s.path(), os.O_WRONLY, 0)
	if err == nil {
		_, err = f.WriteAt(b[2*pageSize:], int64(2*pageSize))
		err = errors.Join(err, f.Close())
	}
	s.must(err)
	s.harm = true
	return true
}

// replace puts an empty folder in the place of this one.
func (s *shelf) replace() {
	if s.dir == "" {
		return
	}
	s.must(os.RemoveAll(s.dir))
	s.harm, s.left = false, 0
}

// durable is up to where the store holds all, whatever else is lost.
func (s *shelf) durable() consensus.Zxid {
	switch {
	case s.harm:
		return 0
	case s.open != nil:
		return consensus.Zxid(s.open.Durable())
	}
	return consensus.Zxid(s.left)
}

// shelve makes a place for the files of all stores. What it returns takes them away.
func (w *world) shelve() (clear func()) {
	end := func() {
		for _, m := range w.machines {
			m.shelf.kill()
		}
	}
	if !w.store.OnDisk {
		return end
	}
	dir, err := os.MkdirTemp(fastest(), "zkcore-sim-"+strconv.FormatUint(w.seed, 10)+"-")
	if err != nil {
		w.fail("no place for the files of stores: %w", err)
		return end
	}
	w.shelves = dir
	for _, m := range w.machines {
		m.shelf.dir = filepath.Join(dir, strconv.Itoa(int(m.id)))
	}
	return func() {
		end()
		os.RemoveAll(dir)
	}
}

// checkStores ends all processes and reads what their stores leave.
func (w *world) checkStores() {
	for _, m := range w.machines {
		if w.err != nil || !w.store.OnDisk || m.shelf.harm || m.shelf.open == nil {
			continue
		}
		m.shelf.kill()
		if err := w.store.Check(storage.Config{Dir: m.shelf.dir}); err != nil {
			w.fail("node %d: what its store leaves is damaged: %w", m.id, err)
		}
	}
}

// hidden leaves out of a line of the trace what differs from run to run: what is said of a
// file has its name and the numbers of pages.
func (w *world) hidden(line string) string {
	if w.shelves == "" {
		return line
	}
	line, _, _ = strings.Cut(line, w.shelves)
	return line
}

// drawStore draws how a store is used that writes behind. It has a stream of its own: a run
// has the same harm and the same clients on each store.
func (p *plan) drawStore(r *rand.Rand) {
	p.storeOptions = map[string]string{"flushIntervalMs": "-1", "cacheBytes": "1048576"}
	if n := []int{2, 8, 60, 1000}[r.IntN(4)]; n < 1000 {
		p.storeOptions["gatherRecords"] = strconv.Itoa(n)
	}
	p.flushMS = []int64{0, 100, 700, 2000}[r.IntN(4)]
	if r.IntN(3) == 0 {
		p.damageGapMS = []int64{3000, 10000}[r.IntN(2)]
	}
}

// harmStores damages the file of a store now and then.
func (w *world) harmStores() {
	if !w.store.OnDisk || w.plan.damageGapMS == 0 {
		return
	}
	w.after(w.storeRand.Int64N(2*w.plan.damageGapMS*ms), nil, func() {
		if !w.faults || w.err != nil {
			return
		}
		m := w.machines[w.storeRand.IntN(len(w.machines))]
		r := rand.New(rand.NewPCG(w.storeRand.Uint64(), 2))
		if m.shelf.damage(r) {
			w.logf(m, "fault: %s", damagedStore)
			w.stats.Faults++
			w.stats.Kinds[damagedStore]++
		}
		w.harmStores()
	})
}

const damagedStore = "damaged store"
