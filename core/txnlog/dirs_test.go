package txnlog

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/zkcore/zkcore/core/vfs"
	"github.com/zkcore/zkcore/plugins/consensus"
)

func TestOpenDirs(t *testing.T) {
	for _, tc := range []struct {
		name       string
		data, log  string
		autocreate bool
		files      []string
		want       string // part of the error
	}{
		{name: "one, made", data: "/a/b", autocreate: true},
		{name: "two, made", data: "/a", log: "/b", autocreate: true},
		{name: "one, missing", data: "/a", want: "/a/version-2 is missing"},
		{name: "log missing", data: "/x", log: "/b", files: []string{"/x/version-2/snapshot.0"}, want: "/b/version-2 is missing"},
		{name: "there", data: "/x", files: []string{"/x/version-2/log.1", "/x/version-2/snapshot.0"}},
		{name: "no directory", data: "/x", files: []string{"/x/version-2"}, autocreate: true, want: "is not a directory"},
		{name: "snapshots in log", data: "/x", log: "/y", autocreate: true, files: []string{"/y/version-2/snapshot.0"},
			want: "Log directory has snapshot files. Check if dataLogDir and dataDir configuration is correct."},
		{name: "logs in snap", data: "/x", log: "/y", autocreate: true, files: []string{"/x/version-2/log.1"},
			want: "Snapshot directory has log files. Check if dataLogDir and dataDir configuration is correct."},
	} {
		t.Run(tc.name, func(t *testing.T) {
			m := vfs.NewMem()
			for _, f := range tc.files {
				must(t, m.MkdirAll(f[:strings.LastIndex(f, "/")]))
				h, err := m.Create(f)
				must(t, err)
				must(t, h.Close())
			}
			d, err := OpenDirs(m, tc.data, tc.log, tc.autocreate)
			if tc.want != "" {
				if err == nil || !strings.Contains(err.Error(), tc.want) {
					t.Fatalf("error %v, want %q", err, tc.want)
				}
				return
			}
			must(t, err)
			log := tc.log
			if log == "" {
				log = tc.data
			}
			if d != (Dirs{tc.data + "/version-2", log + "/version-2", log}) {
				t.Fatalf("dirs %+v", d)
			}
			for _, p := range []string{d.Snap, d.Log} {
				if st, err := m.Stat(p); err != nil || !st.Dir {
					t.Errorf("%s: %+v, %v", p, st, err)
				}
			}
		})
	}
}

// TestBegin is the table of what a server starts from.
func TestBegin(t *testing.T) {
	snap := "snapshot.7"
	for _, tc := range []struct {
		files             []string
		initialize        bool
		trust, autocreate bool
		want              Start
		err               error
	}{
		{files: []string{snap}, want: Start{Snapshots: []SnapshotFile{{Zxid: 7}}}},
		{files: []string{snap, "log.1"}, want: Start{Snapshots: []SnapshotFile{{Zxid: 7}}}},
		{files: []string{snap}, initialize: true, want: Start{Snapshots: []SnapshotFile{{Zxid: 7}}}},
		{files: []string{"log.1"}, autocreate: true, err: ErrNoSnapshot},
		{files: []string{"log.1", "snapshot.9"}, autocreate: true, err: ErrNoSnapshot},
		{files: []string{"log.1"}, trust: true},
		{autocreate: true, want: Start{Fresh: true}},
		{initialize: true, want: Start{Fresh: true}},
		{initialize: true, autocreate: true, want: Start{Fresh: true}},
		{want: Start{NoVote: true}},
		{files: []string{"log.x", "snapshot.1z"}, want: Start{NoVote: true}},
	} {
		t.Run(fmt.Sprint(tc.files, tc.initialize, tc.trust, tc.autocreate), func(t *testing.T) {
			m := newMem(t)
			for _, f := range tc.files {
				if f == snap {
					must(t, saveSample(m, 7, Plain, 1))
				} else {
					put(t, m, f, []byte("no snapshot"))
				}
			}
			if tc.initialize {
				h, err := m.Create("/initialize")
				must(t, err)
				must(t, h.Close())
			}
			got, err := Begin(m, Dirs{"/d", "/d", "/"}, tc.trust, tc.autocreate)
			if !errors.Is(err, tc.err) {
				t.Fatalf("error %v, want %v", err, tc.err)
			}
			if len(got.Snapshots) != len(tc.want.Snapshots) || got.Fresh != tc.want.Fresh || got.NoVote != tc.want.NoVote {
				t.Fatalf("start %+v, want %+v", got, tc.want)
			}
			for i, s := range got.Snapshots {
				if s.Zxid != tc.want.Snapshots[i].Zxid {
					t.Fatalf("start %+v, want %+v", got, tc.want)
				}
			}
			if _, err := m.Stat("/initialize"); err == nil {
				t.Fatal("the file initialize is still there")
			}
		})
	}
}

func TestEpochs(t *testing.T) {
	z := func(epoch int64) consensus.Zxid { return consensus.MakeZxid(epoch, 5) }
	for _, tc := range []struct {
		name   string
		files  map[string]string
		last   consensus.Zxid
		want   Epochs
		refuse string
	}{
		{name: "none", last: z(3), want: Epochs{3, 3}},
		{name: "empty", last: 0},
		{name: "both", files: map[string]string{CurrentEpoch: "4", AcceptedEpoch: "5"}, last: z(4), want: Epochs{5, 4}},
		{name: "log is behind", files: map[string]string{CurrentEpoch: "4", AcceptedEpoch: "5"}, last: z(2), want: Epochs{5, 4}},
		{name: "lines", files: map[string]string{CurrentEpoch: "4\nx", AcceptedEpoch: "4\r\n"}, last: z(4), want: Epochs{4, 4}},
		{name: "no accepted", files: map[string]string{CurrentEpoch: "4"}, last: z(4), want: Epochs{4, 4}},
		{name: "no current", files: map[string]string{AcceptedEpoch: "9"}, last: z(4), want: Epochs{9, 4}},
		{name: "log ahead, promised", files: map[string]string{CurrentEpoch: "4", AcceptedEpoch: "6"}, last: z(5), want: Epochs{6, 5}},
		{name: "log ahead, not promised", files: map[string]string{CurrentEpoch: "4", AcceptedEpoch: "4"}, last: z(5), refuse: "older than the last zxid, 500000005"},
		{name: "log ahead, tmp", files: map[string]string{CurrentEpoch: "4", CurrentEpoch + ".tmp": "6", AcceptedEpoch: "6"}, last: z(5), want: Epochs{6, 6}},
		{name: "log ahead, tmp not promised", files: map[string]string{CurrentEpoch: "4", CurrentEpoch + ".tmp": "5", AcceptedEpoch: "4"}, last: z(5), refuse: "less than the current epoch"},
		{name: "log ahead, old tmp", files: map[string]string{CurrentEpoch: "4", CurrentEpoch + ".tmp": "4", AcceptedEpoch: "4"}, last: z(5), refuse: "older than"},
		{name: "log ahead, bad tmp", files: map[string]string{CurrentEpoch: "4", CurrentEpoch + ".tmp": "", AcceptedEpoch: "5"}, last: z(5), want: Epochs{5, 5}},
		{name: "log ahead, nothing else", files: map[string]string{CurrentEpoch: "4"}, last: z(5), refuse: "older than"},
		{name: "accepted behind", files: map[string]string{CurrentEpoch: "4", AcceptedEpoch: "3"}, last: z(4), refuse: "less than the current epoch"},
		{name: "accepted behind, no file", files: map[string]string{CurrentEpoch: "4"}, last: z(2), refuse: "less than the current epoch"},
		{name: "bad current", files: map[string]string{CurrentEpoch: "four", AcceptedEpoch: "3"}, last: z(4), refuse: `holds "four"`},
		{name: "empty current", files: map[string]string{CurrentEpoch: "", AcceptedEpoch: "3"}, last: z(4), refuse: `holds ""`},
		{name: "bad accepted", files: map[string]string{CurrentEpoch: "4", AcceptedEpoch: " 4"}, last: z(4), refuse: `holds " 4"`},
		{name: "huge", files: map[string]string{CurrentEpoch: strings.Repeat("1", 5000)}, last: z(4), refuse: "too large"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			m := newMem(t)
			for name, text := range tc.files {
				put(t, m, name, []byte(text))
			}
			got, err := OpenEpochs(m, "/d", tc.last)
			if tc.refuse != "" {
				if err == nil || !strings.Contains(err.Error(), tc.refuse) {
					t.Fatalf("error %v, want %q", err, tc.refuse)
				}
				return
			}
			must(t, err)
			if got != tc.want {
				t.Fatalf("epochs %+v, want %+v", got, tc.want)
			}
			// It is on the disk, and the same again.
			if got, err = OpenEpochs(m.Crash(vfs.LoseAll, 0), "/d", tc.last); err != nil || got != tc.want {
				t.Fatalf("again: %+v, %v", got, err)
			}
		})
	}
}

// TestEpochCrash plays a learner that joins epoch after epoch, in the order that
// the protocol asks for: promise, log, current epoch. Wherever it dies it can
// start again, and a promise that was given is kept.
func TestEpochCrash(t *testing.T) {
	run := func(fsys vfs.FS, accepted *int64) error {
		l, _, err := OpenLog(fsys, "/d", Options{PreAllocKB: 1})
		if err != nil {
			return err
		}
		for e := int64(1); e <= 3; e++ {
			if err := WriteEpoch(fsys, "/d", AcceptedEpoch, e); err != nil {
				return err
			}
			*accepted = e
			z := consensus.MakeZxid(e, 1)
			if err := l.Append([]consensus.Txn{create(z, 10), create(z+1, 10)}); err != nil {
				return err
			}
			if _, err := l.Sync(); err != nil {
				return err
			}
			if err := WriteEpoch(fsys, "/d", CurrentEpoch, e); err != nil {
				return err
			}
		}
		return l.Close()
	}
	all := newMem(t)
	base := all.Ops()
	var accepted int64
	must(t, run(all, &accepted))
	for stop := base; stop <= all.Ops(); stop++ {
		m := newMem(t)
		m.StopAt(stop)
		accepted = 0
		if err := run(m, &accepted); err != nil && !errors.Is(err, vfs.ErrCrashed) {
			t.Fatal(err)
		}
		for try := range uint64(15) {
			left := m.Crash(vfs.LoseSome, try)
			_, rec, err := OpenLog(left, "/d", Options{})
			must(t, err)
			e, err := OpenEpochs(left, "/d", rec.Last)
			if err != nil || e.Accepted < accepted || e.Current != rec.Last.Epoch() && e.Current != accepted {
				t.Fatalf("stopped before operation %d, try %d: %+v, %v; accepted %d, log ends with %v", stop, try, e, err, accepted, rec.Last)
			}
		}
	}
	for i := range 8 {
		m := newMem(t)
		must(t, WriteEpoch(m, "/d", CurrentEpoch, 1))
		err := WriteEpoch(vfs.NewErrors(m, vfs.FailNth(i, syscall.EIO)), "/d", CurrentEpoch, 2)
		if (err == nil) != (i >= 6) {
			t.Errorf("operation %d failed: %v", i, err)
		}
		if v, ok, rerr := ReadEpoch(m.Crash(vfs.LoseAll, 0), "/d", CurrentEpoch); !ok || rerr != nil || err == nil && v != 2 || v != 1 && v != 2 {
			t.Errorf("operation %d failed: %d, %v, %v", i, v, ok, rerr)
		}
	}
}

func TestNames(t *testing.T) {
	for name, want := range map[string]consensus.Zxid{
		"log.1": 1, "log.100000001": 0x100000001, "log.0": 0, "log.ABC": 0xabc, "log.7fffffffffffffff": 1<<63 - 1,
		"log.": -1, "log": -1, "log.-1": -1, "log.8000000000000000": -1, "log.1.bak": -1, "torn.log.1.10": -1, "log.xyz": -1, "log.0x1": -1,
	} {
		z, ok := parseLogName(name)
		if ok != (want >= 0) || ok && z != want {
			t.Errorf("%s: %v, %v", name, z, ok)
		}
	}
	for name, want := range map[string]consensus.Zxid{
		"snapshot.1": 1, "snapshot.1.gz": 1, "snapshot.f.snappy": 15, "snapshot.2.tmp": 2, "snapshot.": -1, "tmp.snapshot.1": -1, "snapshot.g": -1,
	} {
		z, ok := parseSnapshotName(name)
		if ok != (want >= 0) || ok && z != want {
			t.Errorf("%s: %v, %v", name, z, ok)
		}
	}
	got := []string{LogName(consensus.MakeZxid(1, 0xAB)), SnapshotName(0)}
	if !slices.Equal(got, []string{"log.1000000ab", "snapshot.0"}) {
		t.Errorf("names %v", got)
	}
}
