package raft

import (
	"encoding/binary"
	"strings"
	"testing"

	"github.com/zkcore/zkcore/consensus-raft/protocol"
	"github.com/zkcore/zkcore/core/member"
	"github.com/zkcore/zkcore/core/txnlog"
	"github.com/zkcore/zkcore/core/vfs"
	"github.com/zkcore/zkcore/plugins/consensus"
)

const (
	convertData = "/data"
	convertLogs = "/logs"
)

// zabDirectories are those of a server that had an ensemble: three txns of epoch 5, and 6 accepted.
func zabDirectories(t *testing.T) *vfs.Mem {
	t.Helper()
	fsys := vfs.NewMem()
	data, logs := member.Version2(convertData), member.Version2(convertLogs)
	for _, dir := range []string{data, logs} {
		if err := fsys.MkdirAll(dir); err != nil {
			t.Fatal(err)
		}
	}
	l, _, err := txnlog.OpenLog(fsys, logs, txnlog.Options{List: data + "/" + listFile})
	if err != nil {
		t.Fatal(err)
	}
	for n := range 3 {
		z := consensus.MakeZxid(5, uint32(n+1))
		b := make([]byte, 40)
		binary.BigEndian.PutUint64(b[12:], uint64(z))
		if err := l.Append([]consensus.Txn{{Zxid: z, Data: b}}); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := l.Sync(); err != nil {
		t.Fatal(err)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	for name, e := range map[string]int64{txnlog.AcceptedEpoch: 6, txnlog.CurrentEpoch: 5} {
		if err := txnlog.WriteEpoch(fsys, data, name, e); err != nil {
			t.Fatal(err)
		}
	}
	return fsys
}

// whole says whose the directories are, after a look at all that the owner needs.
func whole(t *testing.T, fsys vfs.FS) string {
	t.Helper()
	data, logs := member.Version2(convertData), member.Version2(convertLogs)
	owner, err := txnlog.ReadOwner(fsys, data, logs)
	if err != nil {
		t.Fatal(err)
	}
	switch owner {
	case Name:
		st, there, err := readState(fsys, convertData)
		if err != nil || !there || st.Term != 6 {
			t.Fatalf("raft's state is %+v (%v), %v", st, there, err)
		}
	case txnlog.Zab:
		for name, want := range map[string]int64{txnlog.AcceptedEpoch: 6, txnlog.CurrentEpoch: 5} {
			if e, there, err := txnlog.ReadEpoch(fsys, data, name); err != nil || !there || e != want {
				t.Fatalf("%s is %d (%v), %v; want %d", name, e, there, err, want)
			}
		}
	default:
		t.Fatalf("the directories are of %q", owner)
	}
	last, l, _, err := openOffline(fsys, convertData, convertLogs)
	if err != nil || last != consensus.MakeZxid(5, 3) {
		t.Fatalf("the log ends at %v, %v", last, err)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	return owner
}

// TestConvertEndsAnywhere: a conversion that ends at any operation on the disk leaves directories that are one module's, or the
// other's, and whole; it can be begun again.
func TestConvertEndsAnywhere(t *testing.T) {
	type way struct {
		from, to string
		do       func(vfs.FS, string, string) (consensus.Zxid, error)
	}
	toRaft, toZab := way{txnlog.Zab, Name, FromZab}, way{Name, txnlog.Zab, ToZab}
	for _, w := range []way{toRaft, toZab} {
		for stop := 0; ; stop++ {
			m := zabDirectories(t)
			if w.from == Name {
				if _, err := FromZab(m, convertData, convertLogs); err != nil {
					t.Fatal(err)
				}
			}
			m.StopAt(m.Ops() + stop)
			_, err := w.do(m, convertData, convertLogs)
			for seed, loss := range []vfs.Loss{vfs.LoseAll, vfs.LoseNone, vfs.LoseSome, vfs.LoseSome, vfs.LoseSome} {
				after := m.Crash(loss, uint64(seed))
				owner := whole(t, after)
				if owner == w.from {
					if err == nil {
						t.Fatalf("from %s to %s: it was done, and after a crash it is not", w.from, w.to)
					}
					if _, err := w.do(after, convertData, convertLogs); err != nil {
						t.Fatalf("from %s to %s, ended at operation %d, and again: %v", w.from, w.to, stop, err)
					}
					owner = whole(t, after)
				}
				if owner != w.to {
					t.Fatalf("from %s to %s, ended at operation %d: it is %s's", w.from, w.to, stop, owner)
				}
			}
			if err == nil {
				if stop < 10 {
					t.Fatalf("from %s to %s: only %d operations", w.from, w.to, stop)
				}
				break
			}
		}
	}
}

// TestConvertUnproven: a server without data whose log has only begun with what the ensemble has, be it without a txn, or that
// has a snapshot and not what follows it, is not made a voter by a conversion.
func TestConvertUnproven(t *testing.T) {
	z := consensus.MakeZxid(2, 8)
	for _, tc := range []struct {
		name string
		st   protocol.State
		ok   bool
	}{
		{"proven", protocol.State{Term: 1, Starts: []protocol.Start{{Term: 1, Index: 1}}}, true},
		{"nothing", protocol.State{Standing: protocol.Blank, Term: 1}, true},
		{"begun", protocol.State{Standing: protocol.Blank, Term: 1, Starts: []protocol.Start{{Term: 1, Index: 1}}}, false},
		{"lost", protocol.State{Standing: protocol.Lost, Term: 1}, false},
		{"a leader's snapshot", protocol.State{Standing: protocol.Blank, Term: 3, Base: protocol.Point{Index: 11, Term: 2, Zxid: z}}, false},
		{"converted", protocol.State{Standing: protocol.Blank, Term: 3, Base: protocol.Point{Index: uint64(z), Term: 2, Zxid: z}}, true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			fsys := vfs.NewMem()
			dir := member.Version2(convertData)
			if err := fsys.MkdirAll(dir); err != nil {
				t.Fatal(err)
			}
			if err := txnlog.WriteOwner(fsys, dir, Name); err != nil {
				t.Fatal(err)
			}
			if err := writeState(fsys, convertData, tc.st.Encode()); err != nil {
				t.Fatal(err)
			}
			if tc.name == "converted" { // it has its log from before
				l, _, err := txnlog.OpenLog(fsys, dir, txnlog.Options{})
				if err != nil {
					t.Fatal(err)
				}
				for at := z - 7; at <= z; at++ {
					b := make([]byte, 100)
					binary.BigEndian.PutUint64(b[12:], uint64(at))
					if err := l.Append([]consensus.Txn{{Zxid: at, Data: b}}); err != nil {
						t.Fatal(err)
					}
				}
				if err := l.Close(); err != nil {
					t.Fatal(err)
				}
			}
			_, err := ToZab(fsys, convertData, convertData)
			if tc.ok && err != nil || !tc.ok && (err == nil || !strings.Contains(err.Error(), "never brought up to date")) {
				t.Errorf("it says %v", err)
			}
		})
	}
}
