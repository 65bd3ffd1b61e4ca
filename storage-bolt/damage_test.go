package bolt

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/zkcore/zkcore/plugins/storage"
)

// Whatever becomes of the bytes of a file, a store on it answers what is right or
// says that it is damaged.
func TestDamage(t *testing.T) {
	const seed = 7
	rnd := rand.New(rand.NewPCG(seed, 1))
	dir := fastDir(t)
	s, err := openTree(storage.Config{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	want := newState()
	for range 120 {
		b := want.random(rnd)
		if err := s.Commit(b); err != nil {
			t.Fatal(err)
		}
		want.commit(b)
	}
	before := want // the state of the other head
	b := want.random(rnd)
	if err := s.Commit(b); err != nil {
		t.Fatal(err)
	}
	want = want.clone()
	want.commit(b)
	v, err := s.file.open(s)
	if err != nil {
		t.Fatal(err)
	}
	high, pageSize := int(v.high), s.file.pageSize
	v.Release()
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	good := readFile(t, filepath.Join(dir, fileName))

	found, kinds := 0, 240
	if testing.Short() {
		kinds = 100
	}
	for i := range kinds {
		bad := bytes.Clone(good)
		page := rnd.IntN(high)
		at := page * pageSize
		var what string
		switch i % 6 {
		case 0:
			off := rnd.IntN(pageSize)
			bad[at+off] ^= 1 << rnd.IntN(8)
			what = fmt.Sprintf("a bit flipped in byte %d of page %d", off, page)
		case 1:
			off := rnd.IntN(16)
			bad[at+off] ^= 1 << rnd.IntN(8)
			what = fmt.Sprintf("a bit flipped in byte %d of the head of page %d", off, page)
		case 2:
			off := rnd.IntN(pageSize/512) * 512
			clear(bad[at+off : at+off+512])
			what = fmt.Sprintf("zeros from byte %d of page %d on", off, page)
		case 3:
			off := rnd.IntN(pageSize/512) * 512
			copy(bad[at+off:], noise(rnd, 512))
			what = fmt.Sprintf("garbage from byte %d of page %d on", off, page)
		case 4:
			other := rnd.IntN(high) * pageSize
			copy(bad[at:at+pageSize], good[other:])
			what = fmt.Sprintf("page %d is a copy of page %d", page, other/pageSize)
		case 5:
			bad = bad[:at+rnd.IntN(pageSize)]
			what = fmt.Sprintf("the file ends in page %d", page)
		}
		if wrong := useDamaged(t, bad, want, before, rnd, &found); wrong != "" {
			t.Errorf("%s: %s", what, wrong)
		}
	}
	t.Logf("%d of %d were in what is in use, and found", found, kinds)
	if found < kinds/4 {
		t.Errorf("only %d of %d damages were found: they strike nothing", found, kinds)
	}
}

// useDamaged reads and writes a store on a file that may be damaged, and says what
// of it was wrong.
func useDamaged(t *testing.T, file []byte, want, before *state, rnd *rand.Rand, found *int) (wrong string) {
	dir := fastDir(t)
	defer os.RemoveAll(dir)
	if err := os.WriteFile(filepath.Join(dir, fileName), file, 0o600); err != nil {
		t.Fatal(err)
	}
	var told error
	s, err := openTree(storage.Config{Dir: dir, Fail: func(err error) { told = err }})
	if err != nil {
		*found++
		if !errors.Is(err, storage.ErrDamaged) || !strings.Contains(err.Error(), fileName) {
			return fmt.Sprintf("Open: %v", err)
		}
		return discarded(dir)
	}
	defer s.Close()
	if s.Applied() == before.applied {
		want = before // the newer head is what was damaged
	}
	v := s.View()
	for path, rec := range want.records {
		if rnd.IntN(4) > 0 {
			continue
		}
		got, ok, err := v.Get(path)
		if err != nil {
			continue
		}
		if d := diffRecord(got, rec); !ok || d != "" {
			wrong = fmt.Sprintf("Get(%.60q): %v %s", path, ok, d)
		}
		if _, ok, err := v.Get(path + "0"); ok && err == nil && want.records[path+"0"].Head == nil {
			wrong = fmt.Sprintf("Get(%.60q) finds what there never was", path+"0")
		}
	}
	all, rerr := read(v)
	if rerr == nil {
		if d := all.diff(want); d != "" {
			wrong = "Walk: " + d
		}
	}
	v.Release()
	if wrong != "" {
		return wrong
	}
	if told == nil {
		// Nothing was found by reading all of it: nothing is damaged. The list of free
		// pages may be: what is written then is found to be wrong or is right.
		next := want.clone()
		for range 5 {
			b := next.random(rnd)
			if err := s.Commit(b); err != nil {
				break
			}
			next.commit(b)
			v := s.View()
			got, err := read(v)
			v.Release()
			if err != nil {
				break
			}
			if d := got.diff(next); d != "" {
				return "after a commit: " + d
			}
		}
		if told == nil {
			return ""
		}
	}
	*found++
	if !errors.Is(told, storage.ErrDamaged) || !strings.Contains(told.Error(), fileName) {
		return fmt.Sprintf("Fail is told %v", told)
	}
	if err := s.Commit(want.random(rnd)); !errors.Is(err, storage.ErrDamaged) {
		return fmt.Sprintf("Commit to a damaged store: %v", err)
	}
	return discarded(dir)
}

// discarded checks that a damaged store is not opened again, until it is discarded.
func discarded(dir string) string {
	if s, err := openTree(storage.Config{Dir: dir}); err == nil {
		s.Close()
		return "a damaged store is opened again"
	} else if !errors.Is(err, storage.ErrDamaged) {
		return fmt.Sprintf("Open again: %v", err)
	}
	s, err := openTree(storage.Config{Dir: dir, Discard: true})
	if err != nil {
		return fmt.Sprintf("Open with Discard: %v", err)
	}
	defer s.Close()
	v := s.View()
	defer v.Release()
	if v.Len() != 0 || v.Applied() != 0 {
		return fmt.Sprintf("a discarded store holds %d records at %d", v.Len(), v.Applied())
	}
	if _, err := os.Stat(filepath.Join(dir, fileName+damagedAside)); err != nil {
		return fmt.Sprintf("the damaged file is not kept: %v", err)
	}
	return ""
}
