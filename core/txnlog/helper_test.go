package txnlog

import (
	"encoding/json"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/zkcore/zkcore/core/jute"
	"github.com/zkcore/zkcore/core/txn"
	"github.com/zkcore/zkcore/core/vfs"
	"github.com/zkcore/zkcore/plugins/consensus"
)

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// load copies a folder of vectors into memory, as if it had been synced.
func load(t testing.TB, folder string) *vfs.Mem {
	t.Helper()
	m := vfs.NewMem()
	must(t, m.MkdirAll("/d"))
	dir := filepath.Join("testdata", "disk-vectors", folder, "version-2")
	entries, err := os.ReadDir(dir)
	must(t, err)
	for _, e := range entries {
		b, err := os.ReadFile(filepath.Join(dir, e.Name()))
		must(t, err)
		put(t, m, e.Name(), b)
	}
	return m
}

// put writes a file into /d, durably.
func put(t testing.TB, fsys vfs.FS, name string, b []byte) {
	t.Helper()
	f, err := fsys.Create("/d/" + name)
	must(t, err)
	_, err = f.Write(b)
	must(t, err)
	must(t, f.Sync())
	must(t, f.Close())
	must(t, fsys.SyncDir("/d"))
}

func get(t testing.TB, fsys vfs.FS, name string) []byte {
	t.Helper()
	b, err := vfs.ReadFile(fsys, "/d/"+name, 1<<30)
	must(t, err)
	return b
}

// num reads a number of expected.json: plain or a string in hex, two's complement.
type num int64

func (n *num) UnmarshalJSON(b []byte) error {
	s := strings.Trim(string(b), `"`)
	if h, ok := strings.CutPrefix(s, "0x"); ok {
		v, err := strconv.ParseUint(h, 16, 64)
		*n = num(v)
		return err
	}
	if v, err := strconv.ParseInt(s, 10, 64); err == nil {
		*n = num(v)
		return nil
	}
	v, err := strconv.ParseUint(s, 10, 64)
	*n = num(v)
	return err
}

type wantACL struct {
	Perms int32
	ID    struct{ Scheme, ID string }
}

type wantFile struct {
	Magic         string
	Version, DBID num
	Entries       []struct {
		Offset, Checksum, Length num
		Header                   struct {
			ClientID, Cxid, Zxid, Time, Type num
		}
		Txn    map[string]any
		Digest *struct{ Version, TreeDigest num }
	}
	End          string
	EndOffset    *num
	PadBytes     *num
	ValidEntries *num
	Error        string

	Sessions []struct{ ID, Timeout num }
	ACLMap   []struct {
		Key num
		ACL []wantACL
	}
	Nodes []struct {
		Path string
		Data *string
		ACL  num
		Stat struct {
			Czxid, Mzxid, Ctime, Mtime, Version, Cversion, Aversion, EphemeralOwner, Pzxid num
		}
	}
	Seal1, Seal2, Seal3 *struct{ Offset, Checksum num }
	Digest              *struct{ Zxid, DigestVersion, Digest num }
	LastProcessedZxid   *struct{ Zxid num }
}

type wantFolder struct {
	Note    string
	Outcome map[string]string
	Files   map[string]json.RawMessage
}

func expected(t testing.TB, folder string) (wantFolder, map[string]wantFile) {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("testdata", "disk-vectors", folder, "expected.json"))
	must(t, err)
	var w wantFolder
	must(t, json.Unmarshal(b, &w))
	files := map[string]wantFile{}
	for name, raw := range w.Files {
		if !strings.Contains(name, ".") {
			continue // epochs and myid
		}
		var f wantFile
		if err := json.Unmarshal(raw, &f); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		files[name] = f
	}
	return w, files
}

func folders(t testing.TB) []string {
	t.Helper()
	entries, err := os.ReadDir("testdata/disk-vectors")
	must(t, err)
	var names []string
	for _, e := range entries {
		if e.IsDir() {
			names = append(names, e.Name())
		}
	}
	if len(names) < 14 {
		t.Fatalf("%d folders of vectors", len(names))
	}
	return names
}

// create is a txn of that zxid with that much data.
func create(z consensus.Zxid, size int) consensus.Txn {
	data := make([]byte, size)
	for i := range data {
		data[i] = byte(int(z) + i*7)
	}
	t := txn.Txn{Header: txn.Header{ClientID: 1, Cxid: int32(z), Zxid: int64(z), Time: 1e12, Type: txn.TypeSetData}}
	t.Path = "/" + strconv.FormatInt(int64(z), 16)
	t.Data = data
	return consensus.Txn{Zxid: z, Data: txn.Append(nil, &t)}
}

// readAll returns the zxids that a reader from z returns.
func readAll(t testing.TB, l *Log, from consensus.Zxid) []consensus.Zxid {
	t.Helper()
	r, err := l.Reader(from)
	must(t, err)
	defer r.Close()
	var zs []consensus.Zxid
	for {
		x, err := r.Next()
		if errors.Is(err, io.EOF) {
			return zs
		}
		must(t, err)
		if h, err := txn.DecodeHeader(x.Data); err != nil || h.Zxid != int64(x.Zxid) {
			t.Fatalf("record of %v has header %+v, %v", x.Zxid, h, err)
		}
		zs = append(zs, x.Zxid)
	}
}

func zrange(from, to consensus.Zxid) []consensus.Zxid {
	var zs []consensus.Zxid
	for z := from; z <= to; z++ {
		zs = append(zs, z)
	}
	return zs
}

// content is a snapshot, read whole.
type content struct {
	sessions []session
	acls     []aclEntry
	nodes    []Node
	trailer  Trailer
}

type session struct {
	id      int64
	timeout int32
}

type aclEntry struct {
	key int64
	acl []jute.ACL
}

func readSnapshot(r *SnapshotReader) (content, error) {
	var c content
	if err := r.Sessions(func(id int64, timeout int32) error {
		c.sessions = append(c.sessions, session{id, timeout})
		return nil
	}); err != nil {
		return c, err
	}
	if err := r.ACLs(func(key int64, acl []jute.ACL) error {
		c.acls = append(c.acls, aclEntry{key, acl})
		return nil
	}); err != nil {
		return c, err
	}
	if err := r.Nodes(func(n *Node) error {
		n2 := *n
		if n.Data != nil {
			n2.Data = append([]byte{}, n.Data...)
		}
		c.nodes = append(c.nodes, n2)
		return nil
	}); err != nil {
		return c, err
	}
	var err error
	c.trailer, err = r.Finish()
	return c, err
}

func (c *content) write(w *SnapshotWriter) error {
	w.Sessions(len(c.sessions))
	for _, s := range c.sessions {
		w.Session(s.id, s.timeout)
	}
	w.ACLs(len(c.acls))
	for _, a := range c.acls {
		w.ACL(a.key, a.acl)
	}
	for i := range c.nodes {
		if err := w.Node(&c.nodes[i]); err != nil {
			return err
		}
	}
	if c.trailer.HasDigest {
		w.Digest(c.trailer.DigestZxid, c.trailer.Digest)
	}
	if c.trailer.HasLastZxid {
		w.LastZxid(c.trailer.LastZxid)
	}
	return nil
}
