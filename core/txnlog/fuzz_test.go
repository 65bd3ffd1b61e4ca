package txnlog

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"runtime"
	"strings"
	"testing"

	"github.com/zkcore/zkcore/core/vfs"
	"github.com/zkcore/zkcore/plugins/consensus"
)

// allocated runs fn and returns how much it allocated.
func allocated(fn func()) int64 {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	fn()
	runtime.ReadMemStats(&after)
	return int64(after.TotalAlloc - before.TotalAlloc)
}

// FuzzLog opens any bytes as the last file of a log, or as the one before it. What
// is accepted is accepted again, as the same, and can be gone on with.
func FuzzLog(f *testing.F) {
	for _, folder := range folders(f) {
		m := load(f, folder)
		for _, name := range logNames(f, m) {
			if strings.HasPrefix(name, "log.") {
				f.Add(get(f, m, name), false)
				f.Add(get(f, m, name), true)
			}
		}
	}
	m := newMem(f)
	l, _ := open(f, m, Options{PreAllocKB: 1})
	for z := consensus.Zxid(1); z < 6; z++ {
		appendRange(f, l, z, z, 30)
		syncLog(f, l)
	}
	f.Add(get(f, m, "log.1"), false)
	must(f, l.Close())
	f.Add(get(f, m, "log.1"), true)
	f.Fuzz(func(t *testing.T, b []byte, second bool) {
		m := newMem(t)
		put(t, m, "log.1", b)
		if second {
			put(t, m, "log.6", appendRecord(appendHeader(nil, 0), create(6, 10).Data))
		}
		var rec Recovery
		var err error
		records, bytes := 0, 0
		n := allocated(func() {
			_, rec, err = OpenLog(m, "/d", Options{Visit: func(x consensus.Txn) error {
				records++
				bytes += len(x.Data)
				return nil
			}})
		})
		// The file system's own copies are in this.
		if limit := int64(64*len(b) + 1<<20); n > limit {
			t.Fatalf("%d bytes allocated for %d", n, len(b))
		}
		var d *Damage
		if err != nil {
			if !errors.As(err, &d) {
				t.Fatal(err)
			}
			return
		}
		if records != rec.Records || bytes > len(b)+100 {
			t.Fatalf("%d records of %d bytes, %+v", records, bytes, rec)
		}
		l, again, err := OpenLog(m.Crash(vfs.LoseAll, 0), "/d", Options{})
		if err != nil || again.Last != rec.Last || again.Records != rec.Records || again.TornFile != "" {
			t.Fatalf("again: %+v, %v; before: %+v", again, err, rec)
		}
		if got := readAll(t, l, 0); len(got) != rec.Records {
			t.Fatalf("%d records can be read of %+v", len(got), rec)
		}
		if rec.Last.Counter() < 1<<32-1 {
			appendRange(t, l, rec.Last+1, rec.Last+1, 5)
		}
	})
}

// FuzzSnapshot reads any bytes as a snapshot. What is accepted as the newest
// version writes it is written again as it was.
func FuzzSnapshot(f *testing.F) {
	for _, folder := range folders(f) {
		m := load(f, folder)
		for _, name := range logNames(f, m) {
			if strings.HasPrefix(name, "snapshot.") && compressionOf(name) == Plain {
				f.Add(get(f, m, name), false)
			}
		}
	}
	c := sample(4)
	f.Add(encode(f, c, FileForm), false)
	c.trailer = Trailer{}
	f.Add(encode(f, c, StreamForm), true)
	f.Fuzz(func(t *testing.T, b []byte, stream bool) {
		form := FileForm
		if stream {
			form = StreamForm
		}
		in := bytes.NewReader(b)
		var c content
		var err error
		n := allocated(func() { c, err = readSnapshot(NewSnapshotReader(bufio.NewReaderSize(in, 16), form)) })
		if n > int64(100*len(b)+256<<10) {
			t.Fatalf("%d bytes allocated for %d", n, len(b))
		}
		if err != nil || len(c.nodes) == 0 || c.trailer.HasDigest && c.trailer.DigestVersion != digestVersion {
			return
		}
		// Null strings and counts, and other versions in the header, are read and not
		// written: what is written reads as the same.
		again, err := readSnapshot(NewSnapshotReader(bytes.NewReader(encode(t, &c, form)), form))
		if err != nil || len(again.nodes) != len(c.nodes) || again.trailer != c.trailer {
			t.Fatalf("written and read again: %+v, %v; before: %+v", again, err, c)
		}
	})
}

// FuzzSnappy decompresses anything.
func FuzzSnappy(f *testing.F) {
	f.Add(get(f, load(f, "compressed-snappy"), "snapshot.5.snappy"))
	f.Fuzz(func(t *testing.T, b []byte) {
		r, err := newSnappyReader(bytes.NewReader(b))
		if err != nil {
			return
		}
		n, _ := io.Copy(io.Discard, r)
		if n > int64(64*len(b)) {
			t.Fatalf("%d bytes from %d", n, len(b))
		}
	})
}
