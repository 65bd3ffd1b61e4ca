package bolt

import (
	"bytes"
	"errors"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/zkcore/zkcore/plugins/storage"
)

// A power cut in the middle of a commit leaves of what was written since the last
// sync any part, in blocks of 512 bytes. bbolt syncs twice: when the pages are
// written, and when the head is that says which of them count. So a commit is run,
// and all that it could leave is made from what the file was before it and after it.
func TestPowerCut(t *testing.T) {
	const seed, commits = 4, 30
	rnd := rand.New(rand.NewPCG(seed, 1))
	dir := fastDir(t)
	s, err := openTree(storage.Config{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	pageSize := s.file.pageSize
	name := filepath.Join(dir, fileName)
	was := newState()
	old := readFile(t, name)
	states := 0
	for range commits {
		b := was.random(rnd)
		if err := s.Commit(b); err != nil {
			t.Fatal(err)
		}
		is := was.clone()
		is.commit(b)
		now := readFile(t, name)
		grown := append(bytes.Clone(old), make([]byte, max(0, len(now)-len(old)))...)
		for try := range 8 {
			states++
			// The pages are being written, and the file may have become larger.
			left := bytes.Clone(grown)
			mixed(left[2*pageSize:], now[2*pageSize:], try, rnd)
			if try == 1 && len(grown) > len(old) {
				left = left[:len(old)]
			}
			mustOpen(t, left, was, nil)
			// They are synced, and the head is being written.
			left = bytes.Clone(now)
			copy(left[:2*pageSize], old[:2*pageSize])
			mixed(left[:2*pageSize], now[:2*pageSize], try, rnd)
			mustOpen(t, left, was, is)
		}
		was, old = is, now
	}
	t.Logf("%d states after power cuts", 2*states)
}

// mixed puts blocks of now over those of left that it differs in: none, all, or any,
// of which some are neither. try says which.
func mixed(left, now []byte, try int, rnd *rand.Rand) {
	for at := 0; at < len(now); at += 512 {
		end := min(at+512, len(now))
		if bytes.Equal(left[at:end], now[at:end]) {
			continue
		}
		switch {
		case try == 0:
		case try == 1 || rnd.IntN(2) == 0:
			copy(left[at:end], now[at:end])
		case try >= 4 && rnd.IntN(4) == 0:
			copy(left[at:end], noise(rnd, end-at))
		}
	}
}

// mustOpen opens a store on such a file: it holds one of the two states, and goes on
// from there.
func mustOpen(t *testing.T, file []byte, want, or *state) {
	t.Helper()
	dir := fastDir(t)
	defer os.RemoveAll(dir)
	if err := os.WriteFile(filepath.Join(dir, fileName), file, 0o600); err != nil {
		t.Fatal(err)
	}
	s, err := openTree(storage.Config{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if or != nil && s.Applied() == or.applied {
		want = or
	}
	mustHold(t, s, want)
	// The head that was being written is nobody's, and no damage: the file has two again.
	if torn, err := checkMetas(s.path()); torn || err != nil {
		t.Fatalf("a head is torn: %v, %v", torn, err)
	}
	next := want.clone()
	b := next.random(rand.New(rand.NewPCG(uint64(want.applied), 2)))
	if err := s.Commit(b); err != nil {
		t.Fatal(err)
	}
	next.commit(b)
	mustHold(t, s, next)
	v, err := s.file.open(s)
	if err != nil {
		t.Fatal(err)
	}
	defer v.Release()
	for err := range v.tx.Check() {
		t.Fatal(err)
	}
}

// TestTornHead: what a power cut leaves of the head that was being written does not count
// as damage, with or without a commit behind it.
func TestTornHead(t *testing.T) {
	for head := range 2 {
		dir := fastDir(t)
		cfg := storage.Config{Dir: dir}
		s, err := openTree(cfg)
		if err != nil {
			t.Fatal(err)
		}
		pageSize := s.file.pageSize
		was := newState()
		rnd := rand.New(rand.NewPCG(6, 1))
		var before *state
		for s.Applied() < 6 || int(s.Applied())%2 != head {
			b := was.random(rnd)
			if err := s.Commit(b); err != nil {
				t.Fatal(err)
			}
			before = was.clone()
			was.commit(b)
		}
		s.Close()
		file := readFile(t, s.path())
		// The newest: what it says of its txn is the larger number.
		newest := 0
		if tx := func(i int) uint64 { return native.Uint64(file[i*pageSize+pageHeader+48:]) }; tx(1) > tx(0) {
			newest = 1
		}
		copy(file[newest*pageSize:], noise(rnd, 512))
		if err := os.WriteFile(s.path(), file, 0o600); err != nil {
			t.Fatal(err)
		}
		if err := Check(cfg); err != nil {
			t.Errorf("head %d is torn: %v", newest, err)
		}
		if s, err = openTree(cfg); err != nil {
			t.Fatal(err)
		}
		mustHold(t, s, before)
		s.Close()
	}
}

func readFile(t testing.TB, name string) []byte {
	t.Helper()
	b, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// What is left of a file that was being made beside the store's is no file, whatever
// is in it.
func TestPowerCutWhileReplacing(t *testing.T) {
	rnd := rand.New(rand.NewPCG(5, 1))
	whole := func() []byte {
		dir := fastDir(t)
		s, err := openTree(storage.Config{Dir: dir})
		if err != nil {
			t.Fatal(err)
		}
		s.Close()
		return readFile(t, filepath.Join(dir, fileName))
	}()
	for _, left := range [][]byte{nil, whole[:100], whole[:len(whole)/2], noise(rnd, len(whole)), whole} {
		for _, old := range []bool{false, true} {
			dir := fastDir(t)
			want := newState()
			if old {
				s, err := openTree(storage.Config{Dir: dir})
				if err != nil {
					t.Fatal(err)
				}
				b := want.random(rnd)
				if err := s.Commit(b); err != nil {
					t.Fatal(err)
				}
				want.commit(b)
				s.Close()
			}
			if err := os.WriteFile(filepath.Join(dir, fileName+newSuffix), left, 0o600); err != nil {
				t.Fatal(err)
			}
			s, err := openTree(storage.Config{Dir: dir})
			if err != nil {
				t.Fatal(err)
			}
			mustHold(t, s, want)
			if err := s.Reset(); err != nil {
				t.Fatal(err)
			}
			s.Close()
			if s, err = openTree(storage.Config{Dir: dir}); err != nil {
				t.Fatal(err)
			}
			mustHold(t, s, newState())
			s.Close()
		}
	}
}

// A cachedFile shows what was written and keeps on its disk what was synced. What a failed sync has left it does not write
// with the next one.
type cachedFile struct {
	shown, disk []byte
	dirty       map[int]bool // blocks of 512 bytes
	failing     error
}

func (c *cachedFile) ReadAt(b []byte, off int64) (int, error) { return copy(b, c.shown[off:]), nil }

func (c *cachedFile) WriteAt(b []byte, off int64) (int, error) {
	for at := int(off) / 512; at <= (int(off)+len(b)-1)/512; at++ {
		c.dirty[at] = true
	}
	return copy(c.shown[off:], b), nil
}

func (c *cachedFile) Sync() error {
	if c.failing != nil {
		return c.failing
	}
	for at := range c.dirty {
		copy(c.disk[at*512:(at+1)*512], c.shown[at*512:])
	}
	clear(c.dirty)
	return nil
}

// TestHeadThatIsNotOnTheDisk: what a store is opened with is on its disk then, also if the sync of the last commit failed and the
// system's cache alone has it. Durable would promise too much otherwise.
func TestHeadThatIsNotOnTheDisk(t *testing.T) {
	dir := fastDir(t)
	s, err := openTree(storage.Config{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	rnd := rand.New(rand.NewPCG(9, 1))
	was, is := newState(), newState()
	var old []byte
	for range 5 {
		was, old = is, readFile(t, s.path())
		is = was.clone()
		b := is.random(rnd)
		if err := s.Commit(b); err != nil {
			t.Fatal(err)
		}
		is.commit(b)
	}
	pageSize := s.file.pageSize
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	// The pages are on the disk, the head is not.
	f := &cachedFile{shown: readFile(t, s.path()), dirty: map[int]bool{}}
	f.disk = bytes.Clone(f.shown)
	copy(f.disk[:2*pageSize], old[:2*pageSize])
	mustOpen(t, f.disk, was, nil)
	newest := 0
	if tx := func(i int) uint64 { return native.Uint64(f.shown[i*pageSize+pageHeader+48:]) }; tx(1) > tx(0) {
		newest = 1
	}
	before := bytes.Clone(f.shown)
	if err := settle(f, int64(newest*pageSize)); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(f.shown, before) {
		t.Error("the file is another one")
	}
	mustOpen(t, f.disk, is, nil)
	f.failing = errors.New("the disk is broken")
	if err := settle(f, int64(newest*pageSize)); !errors.Is(err, f.failing) {
		t.Errorf("with a broken disk: %v", err)
	}

	// Open does it, with the newest head, and nothing else to a file that is sound.
	dir = fastDir(t)
	name, long := filepath.Join(dir, fileName), time.Now().Add(-time.Hour)
	if err := errors.Join(os.WriteFile(name, before, 0o600), os.Chtimes(name, long, long)); err != nil {
		t.Fatal(err)
	}
	if s, err = openTree(storage.Config{Dir: dir}); err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	st, err := os.Stat(name)
	if err != nil || st.ModTime().Before(long.Add(time.Minute)) {
		t.Errorf("a start writes nothing: %v, %v", st.ModTime(), err)
	}
	if now := readFile(t, name); !bytes.Equal(now, before) {
		t.Error("a start changes the file")
	}
	v, err := s.file.open(s)
	if err != nil {
		t.Fatal(err)
	}
	defer v.Release()
	if head := v.tx.ID() % 2; head != newest {
		t.Errorf("the newest head is %d, and bbolt's %d", newest, head)
	}
}
