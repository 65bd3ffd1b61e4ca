package txnlog

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"encoding/binary"
	"errors"
	"io"
	"strings"
	"testing"

	"github.com/zkcore/zkcore/core/fuzztest"
	"github.com/zkcore/zkcore/core/jute"
	"github.com/zkcore/zkcore/core/vfs"
	"github.com/zkcore/zkcore/plugins/consensus"
)

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
		// Reading is measured apart from the file system, whose copies are its own.
		f, err := m.Open("/d/log.1")
		must(t, err)
		fuzztest.Check(t, len(b), func() {
			var s segReader
			var later *FormatError
			if err := s.init(f, segment{1, "log.1"}, int64(len(b)), DefaultMaxRecord); errors.As(err, &later) {
				return // not ours to read
			} else {
				must(t, err)
			}
			for body, err := s.next(); body != nil || err != nil; body, err = s.next() {
				must(t, err)
			}
			_, err := s.lookBehind(0)
			must(t, err)
		})
		must(t, f.Close())
		records, bytes := 0, 0
		_, rec, err := OpenLog(m, "/d", Options{Visit: func(x consensus.Txn) error {
			records++
			bytes += len(x.Data)
			return nil
		}})
		var d *Damage
		if err != nil {
			var later *FormatError
			if !errors.As(err, &d) && !errors.As(err, &later) {
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

// snapshots is the limit for reading one: a list of ACLs is not known to be long before
// it has come, so it grows, and leaves behind what it grew out of.
var snapshots = fuzztest.Limit{Factor: 20, Constant: 128 << 10}

// passOver reads a snapshot and keeps nothing.
func passOver(r *SnapshotReader) error {
	if err := r.Sessions(func(int64, int32) error { return nil }); err != nil {
		return err
	}
	if err := r.ACLs(func(int64, []jute.ACL) error { return nil }); err != nil {
		return err
	}
	if err := r.Nodes(func(*Node) error { return nil }); err != nil {
		return err
	}
	_, err := r.Finish()
	return err
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
	head := binary.BigEndian.AppendUint64(jute.AppendInt(jute.AppendInt(nil, snapMagic), 2), 1)
	for _, rest := range []string{"\x7f\xff\xff\xff", "\x80\x00\x00\x00", "\x00\x00\x00\x00\x7f\xff\xff\xff",
		"\x00\x00\x00\x00\x00\x00\x00\x00\x7f\xff\xff\xff", "\x00\x00\x00\x00\x00\x00\x00\x01\x00\x00\x00\x00\x00\x00\x00\x01\x7f\xff\xff\xff"} {
		f.Add(append(head[:len(head):len(head)], rest...), false)
		f.Add([]byte(rest), true)
	}
	f.Fuzz(func(t *testing.T, b []byte, stream bool) {
		form := FileForm
		if stream {
			form = StreamForm
		}
		open := func() *SnapshotReader {
			return NewSnapshotReader(bufio.NewReaderSize(bytes.NewReader(b), 16), form)
		}
		var err error
		snapshots.Check(t, len(b), func() { err = passOver(open()) })
		c, again := readSnapshot(open())
		if (err == nil) != (again == nil) {
			t.Fatalf("read %v, passed over %v", again, err)
		}
		if err != nil || len(c.nodes) == 0 || c.trailer.HasDigest && c.trailer.DigestVersion != digestVersion || c.trailer.HasLastZxid && !c.trailer.HasDigest {
			return
		}
		// Null strings and counts, and other versions in the header, are read and not
		// written: what is written reads as the same.
		second, err := readSnapshot(NewSnapshotReader(bytes.NewReader(encode(t, &c, form)), form))
		if err != nil || len(second.nodes) != len(c.nodes) || second.trailer != c.trailer {
			t.Fatalf("written and read again: %+v, %v; before: %+v", second, err, c)
		}
	})
}

// FuzzSnapshotFile finds any bytes under the name of a snapshot of each compression.
func FuzzSnapshotFile(f *testing.F) {
	kinds := []Compression{Plain, Gzip, Snappy}
	for _, folder := range folders(f) {
		m := load(f, folder)
		for _, name := range logNames(f, m) {
			if strings.HasPrefix(name, "snapshot.") {
				for i := range kinds {
					f.Add(uint8(i), get(f, m, name))
				}
			}
		}
	}
	// A gzip file may hold several parts, and one whose length lies.
	plain := encode(f, sample(4), FileForm)
	var two bytes.Buffer
	for _, part := range [][]byte{plain[:len(plain)/2], plain[len(plain)/2:], make([]byte, 100<<10)} {
		w := gzip.NewWriter(&two)
		w.Write(part)
		must(f, w.Close())
		f.Add(uint8(1), bytes.Clone(two.Bytes()))
	}
	f.Add(uint8(1), append(two.Bytes()[:two.Len()-4], 0xff, 0xff, 0xff, 0x7f))
	f.Add(uint8(2), []byte(snappyMagic+"\x00\x00\x00\x01\x00\x00\x00\x01\x00\x00\x00\x06\x80\x80\x80\x10ab"))
	f.Fuzz(func(t *testing.T, kind uint8, b []byte) {
		m := newMem(t)
		name := SnapshotName(5) + string(kinds[int(kind)%len(kinds)])
		put(t, m, name, b)
		good, err := ListSnapshots(m, "/d")
		must(t, err)
		broken, err := BrokenSnapshots(m, "/d")
		must(t, err)
		if len(good)+len(broken) != 1 {
			t.Fatalf("good %v, broken %v", good, broken)
		}
		// What it decompresses to counts as input; more than so much is not wanted here.
		size := len(b) + decompressed(b, kinds[int(kind)%len(kinds)], 4<<20)
		if size > 4<<20 {
			return
		}
		(fuzztest.Limit{Factor: 20, Constant: 1 << 20}).Check(t, size, func() {
			r, c, err := OpenSnapshot(m, "/d", name)
			if err != nil {
				return
			}
			_ = passOver(r)
			must(t, c.Close())
		})
	})
}

// decompressed is how much comes out of b, up to a little more than max.
func decompressed(b []byte, c Compression, max int64) int {
	var r io.Reader
	var err error
	switch c {
	case Plain:
		return 0
	case Gzip:
		r, err = gzip.NewReader(bytes.NewReader(b))
	case Snappy:
		r, err = newSnappyReader(bytes.NewReader(b))
	}
	if err != nil {
		return 0
	}
	n, _ := io.CopyN(io.Discard, r, max)
	return int(n)
}

// FuzzSnappy decompresses anything. The most that a byte can stand for is 64.
func FuzzSnappy(f *testing.F) {
	f.Add(get(f, load(f, "compressed-snappy"), "snapshot.5.snappy"))
	head := snappyMagic + "\x00\x00\x00\x01\x00\x00\x00\x01"
	for _, chunk := range []string{"", "\x00\x00\x00\x00", "\xff\xff\xff\xff", "\x7f\xff\xff\xff", "\x00\x00\x00\x02\x00",
		"\x00\x00\x00\x05\x80\x80\x80\x80\x10", "\x00\x00\x00\x04\x40\x00a\xfe", "\x00\x00\x00\x06\x41\x00a\xfe\x01\x00", "\x00\x00\x00\x07\x01\xfc\xff\xff\xff\xffa"} {
		f.Add([]byte(head + chunk))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		(fuzztest.Limit{Factor: 72, Constant: 128 << 10}).Check(t, len(b), func() {
			r, err := newSnappyReader(bytes.NewReader(b))
			if err != nil {
				return
			}
			if n, _ := io.Copy(io.Discard, r); n > int64(64*len(b)) {
				t.Fatalf("%d bytes from %d", n, len(b))
			}
		})
	})
}

// FuzzEpochs starts from epoch files of any content. If it starts, the promise of an
// epoch is at least the epoch that the log agrees with, and a second start finds the
// same.
func FuzzEpochs(f *testing.F) {
	for _, s := range []string{"", "0", "1", "7\n", "7\r\n8", "-1", " 1", "9223372036854775807", "9223372036854775808", "0x5", "\x00", "+5", "0000000000000000000000000000000005"} {
		f.Add([]byte(s), []byte("5"), []byte(""), int64(5<<32|1), uint8(3))
		f.Add([]byte("5"), []byte(s), []byte("6"), int64(6<<32|1), uint8(7))
		f.Add([]byte("5"), []byte("4"), []byte(s), int64(5<<32|1), uint8(7))
	}
	f.Fuzz(func(t *testing.T, accepted, current, next []byte, last int64, there uint8) {
		m := newMem(t)
		for i, b := range [][]byte{accepted, current, next} {
			if there&(1<<i) != 0 {
				put(t, m, []string{AcceptedEpoch, CurrentEpoch, CurrentEpoch + ".tmp"}[i], b)
			}
		}
		for _, name := range []string{AcceptedEpoch, CurrentEpoch, CurrentEpoch + ".tmp"} {
			fuzztest.Check(t, len(accepted)+len(current)+len(next), func() { _, _, _ = ReadEpoch(m, "/d", name) })
		}
		z := consensus.Zxid(last & (1<<63 - 1))
		e, err := OpenEpochs(m, "/d", z)
		if err != nil {
			var d *Damage
			if !errors.As(err, &d) && len(accepted)+len(current)+len(next) < 4096 {
				t.Fatal(err)
			}
			return
		}
		if e.Current > e.Accepted || e.Current < z.Epoch() {
			t.Fatalf("%+v for a log that ends at %v", e, z)
		}
		again, err := OpenEpochs(m.Crash(vfs.LoseAll, 0), "/d", z)
		if err != nil || again != e {
			t.Fatalf("%+v, again %+v, %v", e, again, err)
		}
	})
}

// FuzzNames takes anything for the name of a file.
func FuzzNames(f *testing.F) {
	for _, s := range []string{"log.1", "log.5.bak", "log.", "log.-1", "log.ffffffffffffffff", "log.7fffffffffffffff", "snapshot.0", "snapshot.5.gz", "snapshot.5.snappy.gz", "snapshot..gz", "torn.log.1.10", "log.0x1", "log.+1", "LOG.1"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, name string) {
		fuzztest.Check(t, len(name), func() {
			if z, ok := parseLogName(name); ok && z < 0 {
				t.Errorf("%q is %v", name, z)
			}
			if z, ok := parseSnapshotName(name); ok && z < 0 {
				t.Errorf("%q is %v", name, z)
			}
		})
		if z, ok := parseLogName(name); ok {
			if again, ok := parseLogName(LogName(z)); !ok || again != z {
				t.Errorf("%q is %v, and that is %v", name, z, again)
			}
		}
		if z, ok := parseSnapshotName(name); ok {
			if again, ok := parseSnapshotName(SnapshotName(z)); !ok || again != z {
				t.Errorf("%q is %v, and that is %v", name, z, again)
			}
		}
	})
}
