// Package storagetest checks an implementation of the storage contract, promise
// by promise, and measures it.
//
// An implementation's test is
//
//	func TestContract(t *testing.T) {
//		storagetest.Run(t, storagetest.Factory{Open: open})
//	}
//
// Run has a case for each promise, named after it, and plays random batches
// against a model made of plain maps. A case commits through memory that it
// overwrites as soon as Commit has returned, the strings' too, so that a store
// which keeps a piece of a batch is found out. Run it with -race as well: what is large is smaller then.
//
// What a store does after a crash in the middle of a write is not checked here:
// only the store knows how to get there.
package storagetest

import (
	"testing"

	"github.com/zkcore/zkcore/plugins/storage"
)

// A Factory makes the stores that are checked.
type Factory struct {
	// Open returns a new, empty store. The kit closes it. Files belong into
	// t.TempDir().
	Open func(t testing.TB) storage.Store

	// Reopen drops s as a crash would, or closes it, and opens what it has left.
	// Nil says that the store keeps nothing.
	Reopen func(t testing.TB, s storage.Store) storage.Store

	// Far says that a call takes long, as one to another process does: of a state that is
	// compared a sample is read record by record.
	Far bool
}

// farReads is how many records of a state are read one by one from a store that is far.
const farReads = 40

// Run checks every promise of the contract.
func Run(t *testing.T, f Factory) {
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) { c.run(t, f) })
	}
	steps := 10_000 / slow
	if f.Far {
		steps = 1000
	}
	t.Run("Random", func(t *testing.T) { Random(t, f, 0, steps) })
	if f.Reopen != nil {
		for _, c := range durableCases {
			t.Run(c.name, func(t *testing.T) { c.run(t, f) })
		}
	}
}

// A testCase checks one promise. Its name is what the store must do.
type testCase struct {
	name string
	run  func(t *testing.T, f Factory)
}

// A rig is a store under test and the model that it is compared with.
type rig struct {
	t testing.TB
	s storage.Store
	m *model
}

// newRig opens a store, which is closed with the test.
func newRig(t testing.TB, f Factory) *rig {
	t.Helper()
	r := &rig{t: t, s: f.Open(t), m: newModel()}
	if f.Far {
		r.m.reads = farReads
	}
	t.Cleanup(func() {
		if err := r.s.Close(); err != nil {
			t.Errorf("Close: %v", err)
		}
	})
	return r
}

// commit commits what build puts into a batch, under the next zxid, to the
// store and to the model.
func (r *rig) commit(build func(b *storage.Batch)) {
	r.t.Helper()
	b := &storage.Batch{Zxid: r.m.applied + 1}
	build(b)
	if err := commitPoisoned(r.s, b); err != nil {
		r.t.Fatalf("Commit: %v", err)
	}
	r.m.commit(b)
}

// refused commits a batch that the store must refuse.
func (r *rig) refused(why string, build func(b *storage.Batch)) {
	r.t.Helper()
	b := &storage.Batch{Zxid: r.m.applied + 1}
	build(b)
	if err := commitPoisoned(r.s, b); err == nil {
		r.t.Fatalf("Commit took a batch with %s", why)
	}
}

// check compares the store with the model.
func (r *rig) check() {
	r.t.Helper()
	v := r.s.View()
	defer v.Release()
	r.m.check(r.t, v)
}

// view takes a view that is released with the test at the latest.
func (r *rig) view() *heldView {
	h := &heldView{View: r.s.View(), m: r.m.clone()}
	r.t.Cleanup(h.release)
	return h
}

// A heldView is a view with what it has to show for ever.
type heldView struct {
	storage.View
	m        *model
	released bool
}

func (h *heldView) release() {
	if !h.released {
		h.released = true
		h.Release()
	}
}
