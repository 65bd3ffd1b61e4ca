package txnlog

import (
	"bytes"
	"encoding/hex"
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/zkcore/zkcore/core/jute"
	"github.com/zkcore/zkcore/core/txn"
	"github.com/zkcore/zkcore/core/vfs"
	"github.com/zkcore/zkcore/plugins/consensus"
)

// TestVectorLogs reads every log that Apache wrote, record by record, and makes
// the same file again from what was decoded.
func TestVectorLogs(t *testing.T) {
	logs := 0
	for _, folder := range folders(t) {
		_, files := expected(t, folder)
		for name, want := range files {
			if !strings.HasPrefix(name, "log.") || name == "log.6" {
				continue
			}
			logs++
			t.Run(folder+"/"+name, func(t *testing.T) { checkLog(t, load(t, folder), name, want) })
		}
	}
	if logs < 12 {
		t.Fatalf("%d logs", logs)
	}
}

func checkLog(t *testing.T, m *vfs.Mem, name string, want wantFile) {
	file := get(t, m, name)
	f, err := m.Open("/d/" + name)
	must(t, err)
	z, ok := parseLogName(name)
	if !ok {
		t.Fatalf("%s is not the name of a log", name)
	}
	var s segReader
	must(t, s.init(f, segment{z, name}, int64(len(file)), DefaultMaxRecord))
	again := appendHeader(nil, 0)
	n := 0
	for {
		at := s.off
		body, err := s.next()
		must(t, err)
		if body == nil {
			break
		}
		var x txn.Txn
		must(t, txn.Decode(body, &x))
		if want.ValidEntries == nil {
			e := want.Entries[n]
			if at != int64(e.Offset) || len(body) != int(e.Length) {
				t.Errorf("record %d at %d of %d bytes, want %+v", n, at, len(body), e)
			}
			wh := e.Header
			if x.Header != (txn.Header{ClientID: int64(wh.ClientID), Cxid: int32(wh.Cxid), Zxid: int64(wh.Zxid), Time: int64(wh.Time), Type: int32(wh.Type)}) {
				t.Errorf("record %d: header %+v, want %+v", n, x.Header, wh)
			}
			if bodyZxid(body) != consensus.Zxid(wh.Zxid) {
				t.Errorf("record %d: zxid %v, want %v", n, bodyZxid(body), wh.Zxid)
			}
			if x.HasDigest != (e.Digest != nil) || e.Digest != nil && x.Digest.Tree != uint64(e.Digest.TreeDigest) {
				t.Errorf("record %d: digest %+v, want %+v", n, x.Digest, e.Digest)
			}
			if p, ok := e.Txn["path"]; ok && p != x.Path {
				t.Errorf("record %d: path %q, want %q", n, x.Path, p)
			}
			if d, ok := e.Txn["data"].(string); ok && d != hex.EncodeToString(x.Data) {
				t.Errorf("record %d: data %x, want %s", n, x.Data, d)
			}
			rec := appendRecord(nil, body)
			if sum := int64(uint32(rec[4])<<24 | uint32(rec[5])<<16 | uint32(rec[6])<<8 | uint32(rec[7])); sum != int64(e.Checksum) {
				t.Errorf("record %d: checksum %d, want %d", n, sum, e.Checksum)
			}
		}
		again = appendRecord(again, txn.Append(nil, &x))
		n++
	}
	switch {
	case want.ValidEntries != nil:
		if n != int(*want.ValidEntries) || s.off != int64(*want.EndOffset) || s.end != endTorn {
			t.Errorf("%d records, end %d at %d", n, s.end, s.off)
		}
		return
	case want.Error != "":
		if s.end != endBad || s.reason != "CRC check failed" {
			t.Errorf("end %d, %q", s.end, s.reason)
		}
		return
	}
	wantEnd := map[string]ending{"eof": endEOF, "zero length": endZero}[want.End]
	if n != len(want.Entries) || s.off != int64(*want.EndOffset) || s.end != wantEnd {
		t.Errorf("%d records, end %d at %d; want %d, %s at %d", n, s.end, s.off, len(want.Entries), want.End, *want.EndOffset)
	}
	if pad := len(file) - int(s.off); pad != int(*want.PadBytes) {
		t.Errorf("%d bytes of padding, want %d", pad, *want.PadBytes)
	}
	if !bytes.Equal(again, file[:s.off]) {
		t.Errorf("written again it differs:\n%x\n%x", again, file[:s.off])
	}
}

// TestVectorSnapshots reads every snapshot that Apache wrote and writes it again.
func TestVectorSnapshots(t *testing.T) {
	snaps := 0
	for _, folder := range folders(t) {
		_, files := expected(t, folder)
		for name, want := range files {
			if !strings.HasPrefix(name, "snapshot.") {
				continue
			}
			snaps++
			t.Run(folder+"/"+name, func(t *testing.T) { checkSnapshot(t, load(t, folder), name, want) })
		}
	}
	if snaps < 14 {
		t.Fatalf("%d snapshots", snaps)
	}
}

func checkSnapshot(t *testing.T, m *vfs.Mem, name string, want wantFile) {
	r, c, err := OpenSnapshot(m, "/d", name)
	must(t, err)
	defer c.Close()
	got, err := readSnapshot(r)
	must(t, err)

	if len(got.sessions) != len(want.Sessions) || len(got.acls) != len(want.ACLMap) || len(got.nodes) != len(want.Nodes) {
		t.Fatalf("%d sessions, %d ACLs, %d nodes; want %d, %d, %d", len(got.sessions), len(got.acls), len(got.nodes),
			len(want.Sessions), len(want.ACLMap), len(want.Nodes))
	}
	for i, w := range want.Sessions {
		if got.sessions[i] != (session{int64(w.ID), int32(w.Timeout)}) {
			t.Errorf("session %+v, want %+v", got.sessions[i], w)
		}
	}
	for i, w := range want.ACLMap {
		var acl []jute.ACL
		for _, a := range w.ACL {
			acl = append(acl, jute.ACL{Perms: a.Perms, Scheme: a.ID.Scheme, ID: a.ID.ID})
		}
		if got.acls[i].key != int64(w.Key) || !slices.Equal(got.acls[i].acl, acl) {
			t.Errorf("ACL %+v, want %+v", got.acls[i], w)
		}
	}
	for i, w := range want.Nodes {
		n := got.nodes[i]
		st := Stat{int64(w.Stat.Czxid), int64(w.Stat.Mzxid), int64(w.Stat.Ctime), int64(w.Stat.Mtime), int32(w.Stat.Version),
			int32(w.Stat.Cversion), int32(w.Stat.Aversion), int64(w.Stat.EphemeralOwner), int64(w.Stat.Pzxid)}
		if n.Path != w.Path || n.ACL != int64(w.ACL) || n.Stat != st {
			t.Errorf("node %+v, want %+v", n, w)
		}
		if (n.Data == nil) != (w.Data == nil) || w.Data != nil && hex.EncodeToString(n.Data) != *w.Data {
			t.Errorf("node %s: data %x (null: %v), want %v", n.Path, n.Data, n.Data == nil, w.Data)
		}
	}
	tr := got.trailer
	if tr.HasDigest != (want.Digest != nil) || tr.HasLastZxid != (want.LastProcessedZxid != nil) {
		t.Errorf("trailer %+v, want %+v and %+v", tr, want.Digest, want.LastProcessedZxid)
	}
	if w := want.Digest; w != nil && (tr.DigestZxid != consensus.Zxid(w.Zxid) || tr.DigestVersion != int32(w.DigestVersion) || tr.Digest != uint64(w.Digest)) {
		t.Errorf("digest %+v, want %+v", tr, w)
	}
	if w := want.LastProcessedZxid; w != nil && tr.LastZxid != consensus.Zxid(w.Zxid) {
		t.Errorf("last zxid %v, want %v", tr.LastZxid, w.Zxid)
	}

	var plain bytes.Buffer
	w := NewSnapshotWriter(&plain, FileForm)
	must(t, got.write(w))
	must(t, w.Close())
	if compressionOf(name) == Plain {
		if !bytes.Equal(plain.Bytes(), get(t, m, name)) {
			t.Error("written again it differs")
		}
	}
	// The seals have the places and the values that Apache gave them.
	for i, seal := range []*struct{ Offset, Checksum num }{want.Seal1, want.Seal2, want.Seal3} {
		if seal == nil {
			continue
		}
		b := plain.Bytes()[seal.Offset:]
		if got := hex.EncodeToString(b[:13]); got != hex.EncodeToString(jute.AppendString(jute.AppendLong(nil, int64(seal.Checksum)), "/")) {
			t.Errorf("seal %d: %s, want checksum %x", i+1, got, int64(seal.Checksum))
		}
	}
}

// TestVectorStarts opens every directory of the vectors and comes to what
// Apache's newest version comes to.
func TestVectorStarts(t *testing.T) {
	for _, tc := range []struct {
		folder   string
		empty    string // a file of no bytes to add
		trust    bool
		from     consensus.Zxid // the snapshot that is taken
		last     consensus.Zxid
		records  int
		beginErr error
		damage   string // reason of a *Damage
		offset   int64
		torn     int64
		removed  int
	}{
		{folder: "ensemble-3.8.0", from: 0x100000017, last: 0x200000004, records: 4},
		{folder: "ensemble-3.9.5", from: 0x100000017, last: 0x200000004, records: 4},
		{folder: "compressed-gz", from: 5, last: 5},
		{folder: "compressed-snappy", from: 5, last: 5},
		{folder: "edge-ok-no-padding", last: 5, records: 5},
		{folder: "edge-error-txn", last: 5, records: 5},
		{folder: "edge-legacy-records", last: 6, records: 6},
		{folder: "edge-snapshot-minimal", from: 5, last: 5},
		{folder: "edge-snapshot-ahead-of-name", from: 3, last: 5, records: 2},
		{folder: "edge-zxid-gap", damage: "zxid gap: 0x4 comes after 0x2", offset: 218},
		{folder: "edge-bad-checksum", damage: "CRC check failed, and a good record follows at offset 117", offset: 16},
		{folder: "edge-torn-tail", last: 4, records: 4, torn: 420},
		{folder: "edge-no-snapshot", beginErr: ErrNoSnapshot},
		{folder: "edge-no-snapshot", trust: true, last: 5, records: 5},
		{folder: "edge-empty-last-log", empty: "log.6", from: 5, last: 5, removed: 1},
	} {
		t.Run(tc.folder, func(t *testing.T) {
			m := load(t, tc.folder)
			if tc.empty != "" {
				put(t, m, tc.empty, nil)
			}
			dirs := Dirs{Snap: "/d", Log: "/d", Top: "/"}
			start, err := Begin(m, dirs, tc.trust, true)
			if !errors.Is(err, tc.beginErr) {
				t.Fatalf("begin: %v, want %v", err, tc.beginErr)
			}
			if tc.beginErr != nil {
				return
			}
			from := consensus.Zxid(0)
			if len(start.Snapshots) > 0 {
				from = start.Snapshots[0].Zxid
			}
			if from != tc.from || start.Fresh || start.NoVote {
				t.Fatalf("start %+v", start)
			}
			visited := 0
			l, rec, err := OpenLog(m, "/d", Options{From: from, Visit: func(x consensus.Txn) error {
				visited++
				var v txn.Txn
				return txn.Decode(x.Data, &v)
			}})
			if tc.damage != "" {
				var d *Damage
				if !errors.As(err, &d) || d.Reason != tc.damage || d.Offset != tc.offset || d.File != "log.1" {
					t.Fatalf("error %v, want damage at %d: %s", err, tc.offset, tc.damage)
				}
				return
			}
			must(t, err)
			if rec.Last != tc.last || l.Last() != tc.last || rec.Records != tc.records || visited != tc.records || len(rec.Removed) != tc.removed {
				t.Fatalf("recovery %+v, %d visited", rec, visited)
			}
			if (rec.TornFile != "") != (tc.torn != 0) || rec.TornOffset != tc.torn {
				t.Fatalf("torn %+v", rec)
			}
			if tc.torn != 0 {
				if got := get(t, m, "log.1"); len(got) != int(tc.torn) {
					t.Errorf("file has %d bytes after the cut", len(got))
				}
				if got := get(t, m, rec.TornCopy); len(got) != int(rec.CutBytes) || len(got) < 50 {
					t.Errorf("copy %s has %d bytes, cut were %d", rec.TornCopy, len(got), rec.CutBytes)
				}
			}
			// It goes on from there, and is found again.
			next := tc.last + 1
			must(t, l.Append([]consensus.Txn{create(next, 10)}))
			_, err = l.Sync()
			must(t, err)
			l2, rec, err := OpenLog(m.Crash(vfs.LoseAll, 0), "/d", Options{From: from})
			must(t, err)
			if rec.Last != next || rec.Records != tc.records+1 {
				t.Fatalf("after one more: %+v", rec)
			}
			all := readAll(t, l2, from)
			if len(all) == 0 || all[len(all)-1] != next {
				t.Fatalf("reader returns %v", all)
			}
		})
	}
}
