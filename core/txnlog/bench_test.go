package txnlog

import (
	"testing"

	"github.com/zkcore/zkcore/core/vfs"
	"github.com/zkcore/zkcore/plugins/consensus"
)

// BenchmarkAppendSync is a lone writer's way: one record, one sync. The floor is
// the same write and sync without a log around it.
func BenchmarkAppendSync(b *testing.B) {
	for _, bench := range []struct {
		name     string
		prealloc int64
	}{{"preallocated", 65536}, {"growing", 0}} {
		b.Run(bench.name, func(b *testing.B) {
			l, _, err := OpenLog(vfs.OS, b.TempDir(), Options{PreAllocKB: bench.prealloc})
			must(b, err)
			z := consensus.Zxid(1)
			rec := create(z, 100)
			for b.Loop() {
				setZxid(&rec, z)
				must(b, l.Append([]consensus.Txn{rec}))
				if _, err := l.Sync(); err != nil {
					b.Fatal(err)
				}
				z++
			}
			must(b, l.Close())
		})
	}
	b.Run("floor", func(b *testing.B) {
		f, err := vfs.OS.Create(b.TempDir() + "/f")
		must(b, err)
		must(b, f.Preallocate(0, 64<<20))
		must(b, f.Sync())
		rec := make([]byte, 200)
		for i := 0; b.Loop(); i++ {
			_, err := f.WriteAt(rec, int64(i*len(rec))%(64<<20))
			must(b, err)
			must(b, f.Sync())
		}
		must(b, f.Close())
	})
}

func setZxid(x *consensus.Txn, z consensus.Zxid) {
	x.Zxid = z
	for i := range 8 {
		x.Data[zxidOffset+i] = byte(uint64(z) >> (56 - 8*i))
	}
}

// BenchmarkAppend is the cost of a batch without its sync.
func BenchmarkAppend(b *testing.B) {
	l, _, err := OpenLog(vfs.OS, b.TempDir(), Options{PreAllocKB: 65536, NoSync: true, SizeLimitKB: 64 << 10})
	must(b, err)
	batch := make([]consensus.Txn, 64)
	for i := range batch {
		batch[i] = create(1, 100)
	}
	z := consensus.Zxid(1)
	b.SetBytes(int64(len(batch) * len(batch[0].Data)))
	for b.Loop() {
		for i := range batch {
			setZxid(&batch[i], z)
			z++
		}
		must(b, l.Append(batch))
		_, err := l.Sync()
		must(b, err)
	}
	must(b, l.Close())
}

// BenchmarkOpen is the start of a server on 100,000 records of 100 bytes.
func BenchmarkOpen(b *testing.B) {
	dir := b.TempDir()
	l, _, err := OpenLog(vfs.OS, dir, Options{PreAllocKB: 65536})
	must(b, err)
	rec := create(1, 100)
	for z := consensus.Zxid(1); z <= 100000; z++ {
		setZxid(&rec, z)
		must(b, l.Append([]consensus.Txn{rec}))
	}
	must(b, l.Close())
	b.SetBytes(l.end)
	b.ReportAllocs()
	for b.Loop() {
		_, rec, err := OpenLog(vfs.OS, dir, Options{})
		must(b, err)
		if rec.Records != 100000 {
			b.Fatalf("%+v", rec)
		}
	}
}

// BenchmarkSnapshot writes and reads a snapshot of 100,000 nodes of 100 bytes.
func BenchmarkSnapshot(b *testing.B) {
	node := Node{Path: "/a/path/of/some/length", Data: make([]byte, 100), ACL: -1}
	write := func(w *SnapshotWriter) error {
		w.Sessions(0)
		w.ACLs(0)
		for range 100000 {
			if err := w.Node(&node); err != nil {
				return err
			}
		}
		return nil
	}
	dir := b.TempDir()
	s, err := SaveSnapshot(vfs.OS, dir, 1, Plain, write)
	must(b, err)
	b.Run("save", func(b *testing.B) {
		b.SetBytes(s.Size)
		for b.Loop() {
			_, err := SaveSnapshot(vfs.OS, dir, 1, Plain, write)
			must(b, err)
		}
	})
	b.Run("load", func(b *testing.B) {
		b.SetBytes(s.Size)
		b.ReportAllocs()
		for b.Loop() {
			r, f, err := OpenSnapshot(vfs.OS, dir, s.Name)
			must(b, err)
			must(b, r.Sessions(nil))
			must(b, r.ACLs(nil))
			n := 0
			must(b, r.Nodes(func(*Node) error { n++; return nil }))
			_, err = r.Finish()
			must(b, err)
			must(b, f.Close())
			if n != 100000 {
				b.Fatal(n)
			}
		}
	})
}
