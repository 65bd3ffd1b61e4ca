package storagetest

import (
	"fmt"
	"math/rand/v2"
	"strconv"
	"sync/atomic"
	"testing"

	"github.com/zkcore/zkcore/plugins/storage"
)

// The shape of the tree that Bench works on: a million znodes of 100 bytes, a
// thousand under each of a thousand parents, with paths of some 20 bytes.
const (
	benchParents  = 1000
	benchChildren = 1000
	benchHead     = 84
	benchData     = 100
)

// Bench measures a store on a tree of a million znodes. Times are per record,
// entry or name, except for those of the view.
func Bench(b *testing.B, f Factory) {
	s := f.Open(b)
	defer s.Close()
	Fill(b, s, benchParents, benchChildren)
	paths := make([]string, 1<<16) // few, so that it is the store that misses the cache
	rnd := rand.New(rand.NewPCG(1, 1))
	for i := range paths {
		paths[i] = BenchPath(rnd.IntN(benchParents), rnd.IntN(benchChildren))
	}
	batch := &storage.Batch{}
	head, data := make([]byte, benchHead), make([]byte, benchData)
	zxid := s.Applied()
	commit := func(b *testing.B) {
		zxid++
		batch.Zxid = zxid
		if err := s.Commit(batch); err != nil {
			b.Fatal(err)
		}
		batch.Reset()
	}

	b.Run("Get", func(b *testing.B) {
		v := s.View()
		defer v.Release()
		b.ReportAllocs()
		for i := 0; b.Loop(); i++ {
			if _, ok, err := v.Get(paths[i%len(paths)]); !ok || err != nil {
				b.Fatal(ok, err)
			}
		}
	})
	b.Run("GetMissing", func(b *testing.B) {
		v := s.View()
		defer v.Release()
		b.ReportAllocs()
		for b.Loop() {
			if _, ok, err := v.Get("/bench-0500/node-not-there"); ok || err != nil {
				b.Fatal(ok, err)
			}
		}
	})
	b.Run("GetParallel", func(b *testing.B) {
		v := s.View()
		defer v.Release()
		var from atomic.Int64
		b.RunParallel(func(pb *testing.PB) {
			for i := int(from.Add(9973)); pb.Next(); i++ {
				if _, ok, err := v.Get(paths[i%len(paths)]); !ok || err != nil {
					b.Error(ok, err)
					return
				}
			}
		})
	})
	b.Run("View", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			s.View().Release()
		}
	})
	b.Run("Children", func(b *testing.B) {
		v := s.View()
		defer v.Release()
		b.ReportAllocs()
		for i, n := 0, 0; b.Loop(); i++ {
			if n == 0 {
				n = benchChildren
				if err := v.Children(benchParent(i%benchParents), func(string) bool { return true }); err != nil {
					b.Fatal(err)
				}
			}
			n--
		}
	})
	b.Run("Walk", func(b *testing.B) {
		v := s.View()
		defer v.Release()
		b.ReportAllocs()
		n := 0
		for b.Loop() {
			if n == 0 {
				n = v.Len()
				if err := v.Walk(func(string, storage.Record) bool { return true }); err != nil {
					b.Fatal(err)
				}
			}
			n--
		}
	})

	for _, held := range []string{"", "Snapshot"} { // Snapshot: while an old view is held
		var old storage.View
		b.Run("PutHead"+held, func(b *testing.B) {
			if held != "" {
				old = s.View()
				defer old.Release()
			}
			b.ReportAllocs()
			for i := 0; b.Loop(); i++ {
				batch.PutHead(paths[i%len(paths)], head)
				commit(b)
			}
		})
		b.Run("Put"+held, func(b *testing.B) {
			if held != "" {
				old = s.View()
				defer old.Release()
			}
			b.ReportAllocs()
			for i := 0; b.Loop(); i++ {
				batch.Put(paths[i%len(paths)], head, data)
				commit(b)
			}
		})
	}
	b.Run("PutOtherLength", func(b *testing.B) {
		b.ReportAllocs()
		for i := 0; b.Loop(); i++ {
			batch.Put(paths[i%len(paths)], head, data[:50+i%51])
			commit(b)
		}
	})
	b.Run("CommitLikeANode", func(b *testing.B) { // a create: the child, its parent's head, a new view
		v := s.View()
		b.ReportAllocs()
		for i := 0; b.Loop(); i++ {
			path := "/bench-0000/c" + strconv.Itoa(i)
			v.Release()
			batch.Put(path, head, data)
			batch.PutHead("/bench-0000", head)
			commit(b)
			v = s.View()
		}
		v.Release()
	})
	for _, order := range []string{"Sequential", "Random"} {
		b.Run("CreateUnderOneParent"+order, func(b *testing.B) {
			parent := "/many-" + order + strconv.Itoa(int(zxid))
			batch.Put(parent, head, nil)
			commit(b)
			b.ReportAllocs()
			for i := uint64(0); b.Loop(); i++ {
				n := i
				if order == "Random" {
					n *= 0x9e3779b97f4a7c15
				}
				batch.Put(fmt.Sprintf("%s/%020d", parent, n), head, data)
				commit(b)
			}
		})
	}
	b.Run("TablePut", func(b *testing.B) {
		b.ReportAllocs()
		for i := 0; b.Loop(); i++ {
			batch.TablePut("t", paths[i%len(paths)], head[:16])
			commit(b)
		}
	})
	b.Run("TableGet", func(b *testing.B) {
		for _, path := range paths {
			batch.TablePut("t", path, head[:16])
		}
		commit(b)
		v := s.View()
		defer v.Release()
		b.ReportAllocs()
		for i := 0; b.Loop(); i++ {
			if _, ok, err := v.TableGet("t", paths[i%len(paths)]); !ok || err != nil {
				b.Fatal(ok, err)
			}
		}
	})
}

func benchParent(i int) string { return fmt.Sprintf("/bench-%04d", i) }

// BenchPath is the path of a child that Fill makes.
func BenchPath(parent, child int) string {
	return fmt.Sprintf("/bench-%04d/n%07d", parent, child)
}

// Fill puts parents under "/" and children under each of them: znodes with a
// head of 84 bytes and data of 100, as a server would have them.
func Fill(t testing.TB, s storage.Store, parents, children int) {
	t.Helper()
	head, data := make([]byte, benchHead), make([]byte, benchData)
	for i := range data {
		data[i] = byte(i)
	}
	batch := &storage.Batch{}
	zxid := s.Applied()
	commit := func() {
		zxid++
		batch.Zxid = zxid
		if err := s.Commit(batch); err != nil {
			t.Fatal(err)
		}
		batch.Reset()
	}
	batch.Put("/", head, nil)
	for i := range parents {
		batch.Put(benchParent(i), head, nil)
		for j := range children {
			batch.Put(BenchPath(i, j), head, data)
			if len(batch.Ops) >= 1000 {
				commit()
			}
		}
	}
	commit()
}
