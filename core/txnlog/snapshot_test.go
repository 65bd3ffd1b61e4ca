package txnlog

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"hash/adler32"
	"io"
	"math/rand/v2"
	"os"
	"reflect"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/zkcore/zkcore/core/jute"
	"github.com/zkcore/zkcore/core/vfs"
	"github.com/zkcore/zkcore/plugins/consensus"
)

// sample is a snapshot of some size.
func sample(nodes int) *content {
	c := &content{
		sessions: []session{{1, 4000}, {-2, 30000}},
		acls:     []aclEntry{{1, []jute.ACL{{Perms: 31, Scheme: "digest", ID: "u:p"}, {Perms: 1, Scheme: "world", ID: "anyone"}}}, {7, []jute.ACL{}}},
	}
	c.nodes = append(c.nodes, Node{Path: "", Data: nil, ACL: -1})
	for i := range nodes {
		data := bytes.Repeat([]byte{byte(i)}, i*37%3000)
		c.nodes = append(c.nodes, Node{Path: fmt.Sprintf("/n%d", i), Data: data, ACL: int64(i%2) + 1,
			Stat: Stat{Czxid: int64(i), Mzxid: -1, Ctime: 3, Mtime: 4, Version: 5, Cversion: -6, Aversion: 7, EphemeralOwner: 8, Pzxid: 9}})
	}
	c.trailer = Trailer{HasDigest: true, DigestZxid: 9, DigestVersion: 2, Digest: 1 << 63, HasLastZxid: true, LastZxid: 9}
	return c
}

func encode(t testing.TB, c *content, form Form) []byte {
	t.Helper()
	var b bytes.Buffer
	w := NewSnapshotWriter(&b, form)
	must(t, c.write(w))
	must(t, w.Close())
	if w.Written() != int64(b.Len()) {
		t.Fatalf("%d bytes written, it says %d", b.Len(), w.Written())
	}
	return b.Bytes()
}

func TestSnapshotRoundTrip(t *testing.T) {
	for _, nodes := range []int{0, 1, 1000} {
		want := sample(nodes)
		got, err := readSnapshot(NewSnapshotReader(bytes.NewReader(encode(t, want, FileForm)), FileForm))
		must(t, err)
		if !reflect.DeepEqual(&got, want) {
			t.Fatalf("%d nodes: not the same", nodes)
		}
		// As a stream nothing behind the snapshot is touched.
		stream := sample(nodes)
		stream.trailer = Trailer{}
		br := bufio.NewReader(strings.NewReader(string(encode(t, stream, StreamForm)) + "next packet"))
		got, err = readSnapshot(NewSnapshotReader(br, StreamForm))
		must(t, err)
		if !reflect.DeepEqual(&got, stream) {
			t.Fatalf("%d nodes, as a stream: not the same", nodes)
		}
		if rest, _ := io.ReadAll(br); string(rest) != "next packet" {
			t.Fatalf("left behind the stream: %q", rest)
		}
	}
}

// TestSnapStreamOfApache reads what a leader of 3.9.5 sent and writes it again.
func TestSnapStreamOfApache(t *testing.T) {
	text, err := os.ReadFile("testdata/snap-stream-3.9.5.hex")
	must(t, err)
	raw, err := hex.DecodeString(strings.TrimSpace(string(text)))
	must(t, err)
	c, err := readSnapshot(NewSnapshotReader(bytes.NewReader(raw), StreamForm))
	must(t, err)
	if len(c.sessions) != 2 || len(c.nodes) < 4 || c.nodes[0].Path != "" {
		t.Fatalf("%+v", c)
	}
	if again := encode(t, &c, StreamForm); !bytes.Equal(again, raw) {
		t.Fatalf("written again it differs:\n%x\n%x", again, raw)
	}
}

// TestSnapshotDamage: no byte can turn and none be missing in silence, except
// behind seal 1, where the file may end.
func TestSnapshotDamage(t *testing.T) {
	good := encode(t, sample(3), FileForm)
	c := sample(3)
	c.trailer = Trailer{}
	seal1 := len(encode(t, c, FileForm))
	c.trailer = Trailer{HasDigest: true}
	seal2 := len(encode(t, c, FileForm))
	for i := range good {
		b := slices.Clone(good)
		b[i] ^= 0x10
		_, err := readSnapshot(NewSnapshotReader(bytes.NewReader(b), FileForm))
		if err == nil {
			t.Errorf("byte %d turned: no error", i)
		}
		_, err = readSnapshot(NewSnapshotReader(bytes.NewReader(good[:i]), FileForm))
		if whole := i == seal1 || i == seal2; (err == nil) != whole {
			t.Errorf("cut at %d: %v", i, err)
		}
		if err != nil && !errors.Is(err, io.ErrUnexpectedEOF) {
			t.Errorf("cut at %d: %v, want an unexpected end", i, err)
		}
	}
	c.trailer = Trailer{}
	stream := encode(t, c, StreamForm)
	for i := range stream {
		if _, err := readSnapshot(NewSnapshotReader(bytes.NewReader(stream[:i]), StreamForm)); !errors.Is(err, io.ErrUnexpectedEOF) {
			t.Errorf("stream cut at %d: %v", i, err)
		}
	}
	stream[len(stream)-1]++
	if _, err := readSnapshot(NewSnapshotReader(bytes.NewReader(stream), StreamForm)); err == nil {
		t.Error("wrong signature: no error")
	}
}

// TestSnapshotClaims: a length buys no memory, a count no loop.
func TestSnapshotClaims(t *testing.T) {
	head := binary.BigEndian.AppendUint32(nil, 0) // no sessions
	head = binary.BigEndian.AppendUint32(head, 0) // no ACLs
	for name, b := range map[string][]byte{
		"path":     binary.BigEndian.AppendUint32(head, maxField),
		"too long": binary.BigEndian.AppendUint32(head, maxField+1),
		"negative": binary.BigEndian.AppendUint32(head, 1<<32-2),
		"sessions": binary.BigEndian.AppendUint32(nil, 1<<31-1),
		"acls":     binary.BigEndian.AppendUint32(head[:4:4], 1<<31-1),
		"acl":      append(slices.Clone(head[:4]), 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 1, 0x7f, 0xff, 0xff, 0xff),
	} {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		_, err := readSnapshot(NewSnapshotReader(bufio.NewReaderSize(bytes.NewReader(b), 16), StreamForm))
		runtime.ReadMemStats(&after)
		if err == nil {
			t.Errorf("%s: no error", name)
		}
		if n := after.TotalAlloc - before.TotalAlloc; n > 200<<10 {
			t.Errorf("%s: %d bytes allocated for %d", name, n, len(b))
		}
	}
}

// Apache's servers with digest.enabled=false leave the digest section out and write the last one.
func TestSnapshotWithoutDigestSection(t *testing.T) {
	want := sample(3)
	want.trailer = Trailer{}
	b := encode(t, want, FileForm)
	b = jute.AppendLong(b, 0x100000007)
	b = jute.AppendLong(b, int64(adler32.Checksum(b)))
	b = jute.AppendString(b, "/")
	want.trailer = Trailer{HasLastZxid: true, LastZxid: 0x100000007}
	got, err := readSnapshot(NewSnapshotReader(bytes.NewReader(b), FileForm))
	must(t, err)
	if !reflect.DeepEqual(&got, want) {
		t.Errorf("trailer %+v, want %+v", got.trailer, want.trailer)
	}
	for cut := 1; cut < 21; cut++ {
		if _, err := readSnapshot(NewSnapshotReader(bytes.NewReader(b[:len(b)-cut]), FileForm)); err == nil {
			t.Errorf("%d bytes less: no error", cut)
		}
	}
	b[len(b)-14]++ // of the zxid
	if _, err := readSnapshot(NewSnapshotReader(bytes.NewReader(b), FileForm)); err == nil {
		t.Error("another zxid than was sealed: no error")
	}
}

func TestSnapshotWriterOrder(t *testing.T) {
	ok := func(w *SnapshotWriter) { w.Sessions(0); w.ACLs(0); w.Node(&Node{}) }
	for name, fn := range map[string]func(w *SnapshotWriter){
		"nothing":         func(w *SnapshotWriter) {},
		"no ACLs":         func(w *SnapshotWriter) { w.Sessions(0) },
		"session missing": func(w *SnapshotWriter) { w.Sessions(1); w.ACLs(0) },
		"session more":    func(w *SnapshotWriter) { w.Sessions(0); w.Session(1, 1) },
		"ACL missing":     func(w *SnapshotWriter) { w.Sessions(0); w.ACLs(1) },
		"node first":      func(w *SnapshotWriter) { w.Node(&Node{}) },
		"node too late":   func(w *SnapshotWriter) { ok(w); w.Digest(0, 0); w.Node(&Node{Path: "/a"}) },
		"node is the end": func(w *SnapshotWriter) { ok(w); w.Node(&Node{Path: "/"}) },
		"no digest":       func(w *SnapshotWriter) { ok(w); w.LastZxid(1) },
		"twice":           func(w *SnapshotWriter) { ok(w); w.Close() },
	} {
		w := NewSnapshotWriter(io.Discard, FileForm)
		fn(w)
		if err := w.Close(); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
	w := NewSnapshotWriter(io.Discard, StreamForm)
	ok(w)
	w.Digest(0, 0)
	if w.Close() == nil {
		t.Error("a digest in a stream: no error")
	}
	want := errors.New("full")
	w = NewSnapshotWriter(failWriter{want}, FileForm)
	ok(w)
	if err := w.Close(); !errors.Is(err, want) {
		t.Errorf("error of the writer: %v", err)
	}
	r := NewSnapshotReader(bytes.NewReader(encode(t, sample(1), FileForm)), FileForm)
	if _, err := r.Finish(); err == nil {
		t.Error("Finish before the nodes: no error")
	}
	stop := errors.New("enough")
	r = NewSnapshotReader(bytes.NewReader(encode(t, sample(1), FileForm)), FileForm)
	if err := r.Sessions(func(int64, int32) error { return stop }); !errors.Is(err, stop) {
		t.Errorf("error of the callback: %v", err)
	}
}

type failWriter struct{ err error }

func (w failWriter) Write([]byte) (int, error) { return 0, w.err }

func saveSample(fsys vfs.FS, z consensus.Zxid, c Compression, nodes int) error {
	_, err := SaveSnapshot(fsys, "/d", z, c, sample(nodes).write)
	return err
}

func snapZxids(t testing.TB, fsys vfs.FS) []consensus.Zxid {
	t.Helper()
	list, err := ListSnapshots(fsys, "/d")
	must(t, err)
	var zs []consensus.Zxid
	for _, s := range list {
		zs = append(zs, s.Zxid)
	}
	return zs
}

func TestBrokenSnapshots(t *testing.T) {
	m := newMem(t)
	must(t, saveSample(m, 5, Plain, 3))
	put(t, m, "snapshot.7", get(t, m, "snapshot.5")[:60])
	put(t, m, "snapshot.9", nil)
	if got, err := BrokenSnapshots(m, "/d"); err != nil || !slices.Equal(got, []string{"snapshot.9", "snapshot.7"}) {
		t.Errorf("broken: %v, %v", got, err)
	}
	if got := snapZxids(t, m); !slices.Equal(got, []consensus.Zxid{5}) {
		t.Errorf("whole: %v", got)
	}
}

func TestSnapshotFiles(t *testing.T) {
	m := newMem(t)
	if got := snapZxids(t, m); len(got) != 0 {
		t.Fatalf("empty directory: %v", got)
	}
	if got, err := ListSnapshots(m, "/none"); got != nil || err != nil {
		t.Fatalf("no directory: %v, %v", got, err)
	}
	for _, z := range []consensus.Zxid{0x9, 0x10, 0x1ff, 0x200} {
		c := Plain
		if z == 0x10 {
			c = Gzip
		}
		must(t, saveSample(m, z, c, 10))
	}
	put(t, m, "snapshot.300", []byte("something else, long enough"))
	put(t, m, "snapshot.301.gz", []byte("\x1f\x8bsomething else, long enough"))
	put(t, m, "snapshot.302", nil)
	put(t, m, "snapshot.xyz", []byte("something else\x00\x00\x00\x01/"))
	put(t, m, "tmp.snapshot.400", []byte("something else\x00\x00\x00\x01/"))
	put(t, m, "snapshot.5.snappy", append([]byte(snappyMagic), 1, 2, 3))
	if got := snapZxids(t, m); !slices.Equal(got, []consensus.Zxid{0x301, 0x200, 0x1ff, 0x10, 0x9, 5}) {
		t.Fatalf("list %v", got)
	}
	want := sample(10)
	for _, name := range []string{"snapshot.9", "snapshot.10.gz"} {
		r, c, err := OpenSnapshot(m, "/d", name)
		must(t, err)
		got, err := readSnapshot(r)
		must(t, err)
		must(t, c.Close())
		if !reflect.DeepEqual(&got, want) {
			t.Fatalf("%s: not what was written", name)
		}
	}
	if _, _, err := OpenSnapshot(m, "/d", "snapshot.301.gz"); err == nil {
		t.Error("a broken gz opens")
	}
	if _, _, err := OpenSnapshot(m, "/d", "snapshot.5.snappy"); err == nil {
		t.Error("a broken snappy opens")
	}
	if _, err := SaveSnapshot(m, "/d", 1, Snappy, nil); err == nil {
		t.Error("snappy is written")
	}

	removed, err := DropSnapshotsAbove(m, "/d", 0x200)
	must(t, err)
	slices.Sort(removed)
	if !slices.Equal(removed, []string{"snapshot.300", "snapshot.301.gz", "snapshot.302"}) {
		t.Fatalf("dropped %v", removed)
	}
	oldest, kept, removed, err := PurgeSnapshots(m, "/d", 3)
	must(t, err)
	slices.Sort(removed)
	if oldest != 0x10 || !kept || !slices.Equal(removed, []string{"snapshot.5.snappy", "snapshot.9", "tmp.snapshot.400"}) {
		t.Fatalf("purged %v, oldest %v %v", removed, oldest, kept)
	}
	if oldest, _, removed, err = PurgeSnapshots(m, "/d", 10); err != nil || oldest != 0x10 || len(removed) != 0 {
		t.Fatalf("purged %v, oldest %v, %v", removed, oldest, err)
	}
	if got := snapZxids(t, m.Crash(vfs.LoseAll, 0)); !slices.Equal(got, []consensus.Zxid{0x200, 0x1ff, 0x10}) {
		t.Fatalf("after a crash: %v", got)
	}
	if _, kept, removed, err := PurgeSnapshots(newMem(t), "/d", 3); kept || len(removed) != 0 || err != nil {
		t.Fatalf("purge of nothing: %v, %v, %v", kept, removed, err)
	}
}

// TestSnapshotCrash: whenever a server dies while it writes and purges
// snapshots, all that pass the quick check are whole, and the last that was
// reported is there.
func TestSnapshotCrash(t *testing.T) {
	run := func(fsys vfs.FS, saved *consensus.Zxid) error {
		for z := consensus.Zxid(1); z <= 5; z++ {
			c := Plain
			if z%2 == 0 {
				c = Gzip
			}
			if err := saveSample(fsys, z, c, 60); err != nil {
				return err
			}
			*saved = z
			if _, _, _, err := PurgeSnapshots(fsys, "/d", 2); err != nil {
				return err
			}
		}
		return nil
	}
	check := func(left *vfs.Mem, saved consensus.Zxid) error {
		list, err := ListSnapshots(left, "/d")
		if err != nil {
			return err
		}
		if saved > 0 && (len(list) == 0 || list[0].Zxid < saved) {
			return fmt.Errorf("%v was saved, there are %v", saved, list)
		}
		for _, s := range list {
			r, c, err := OpenSnapshot(left, "/d", s.Name)
			if err != nil {
				return err
			}
			got, err := readSnapshot(r)
			if err != nil {
				return fmt.Errorf("%s: %w", s.Name, err)
			}
			if err := c.Close(); err != nil || !reflect.DeepEqual(&got, sample(60)) {
				return fmt.Errorf("%s is not what was written, %v", s.Name, err)
			}
		}
		_, _, _, err = PurgeSnapshots(left, "/d", 1)
		return err
	}
	all := newMem(t)
	base := all.Ops()
	var saved consensus.Zxid
	must(t, run(all, &saved))
	for stop := base; stop <= all.Ops(); stop++ {
		m := newMem(t)
		m.StopAt(stop)
		saved = 0
		if err := run(m, &saved); err != nil && !errors.Is(err, vfs.ErrCrashed) {
			t.Fatal(err)
		}
		for try := range uint64(12) {
			loss := vfs.LoseSome
			if try < 2 {
				loss = vfs.Loss(try)
			}
			if err := check(m.Crash(loss, try), saved); err != nil {
				t.Fatalf("stopped before operation %d, loss %d, try %d: %v", stop, loss, try, err)
			}
		}
	}
	clean := vfs.NewErrors(newMem(t), func(vfs.Op) error { return nil })
	must(t, run(clean, &saved))
	for i := range clean.Ops() {
		m := newMem(t)
		saved = 0
		var failed vfs.Op
		err := run(vfs.NewErrors(m, func(op vfs.Op) error {
			if op.N != i {
				return nil
			}
			failed = op
			return syscall.EIO
		}), &saved)
		if !errors.Is(err, syscall.EIO) && failed.Kind != "close" {
			t.Fatalf("operation %+v: the error is passed over: %v", failed, err)
		}
		if err := check(m.Crash(vfs.LoseAll, 0), saved); err != nil {
			t.Fatalf("operation %+v failed: %v", failed, err)
		}
	}
}

// TestSnappy decodes streams with every kind of element, held against a plain
// description of what they say.
func TestSnappy(t *testing.T) {
	rng := rand.New(rand.NewPCG(3, 4))
	for range 200 {
		stream := append([]byte(snappyMagic), 0, 0, 0, 1, 0, 0, 0, 1)
		var want []byte
		for range rng.IntN(4) {
			var block, out []byte
			for range 1 + rng.IntN(20) {
				kind := rng.IntN(4)
				if len(out) == 0 {
					kind = 0
				}
				switch kind {
				case 0:
					n := 1 + rng.IntN(300)
					lit := make([]byte, n)
					for i := range lit {
						lit[i] = byte(rng.Uint32())
					}
					switch {
					case n <= 60:
						block = append(block, byte(n-1)<<2)
					case n <= 256:
						block = append(block, 60<<2, byte(n-1))
					default:
						block = append(block, 61<<2, byte(n-1), byte((n-1)>>8))
					}
					block = append(block, lit...)
					out = append(out, lit...)
				default:
					off := 1 + rng.IntN(min(len(out), 2000))
					var n int
					switch kind {
					case 1:
						n = 4 + rng.IntN(8)
						block = append(block, 1|byte(n-4)<<2|byte(off>>8)<<5, byte(off))
					case 2:
						n = 1 + rng.IntN(64)
						block = append(block, 2|byte(n-1)<<2, byte(off), byte(off>>8))
					case 3:
						n = 1 + rng.IntN(64)
						block = append(block, 3|byte(n-1)<<2, byte(off), byte(off>>8), 0, 0)
					}
					for range n {
						out = append(out, out[len(out)-off])
					}
				}
			}
			block = append(binary.AppendUvarint(nil, uint64(len(out))), block...)
			stream = binary.BigEndian.AppendUint32(stream, uint32(len(block)))
			stream = append(stream, block...)
			want = append(want, out...)
		}
		r, err := newSnappyReader(bytes.NewReader(stream))
		must(t, err)
		got, err := io.ReadAll(r)
		must(t, err)
		if !bytes.Equal(got, want) {
			t.Fatalf("got %x, want %x", got, want)
		}
	}
}

func TestCompressedSize(t *testing.T) {
	m := newMem(t)
	s, err := SaveSnapshot(m, "/d", 1, Gzip, sample(1000).write)
	must(t, err)
	b := get(t, m, s.Name)
	if s.Size != int64(len(b)) || s.Name != "snapshot.1.gz" {
		t.Fatalf("%+v, file has %d bytes", s, len(b))
	}
	zr, err := gzip.NewReader(bytes.NewReader(b))
	must(t, err)
	plain, err := io.ReadAll(zr)
	must(t, err)
	if !bytes.Equal(plain, encode(t, sample(1000), FileForm)) {
		t.Fatal("not what was written")
	}
}
