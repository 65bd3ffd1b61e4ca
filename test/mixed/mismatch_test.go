package mixed

import (
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/zkcore/zkcore/test/harness"
)

// noMismatch checks that a server has applied no txn to a tree other than the one that the txn was
// made for.
func noMismatch(t *testing.T, s *harness.Server) {
	t.Helper()
	m, err := s.Monitor()
	if err != nil {
		t.Fatal(err)
	}
	if n := m["zk_digest_mismatches_count"]; n != "0" && !(s.Apache && itsOwn(s.Log())) {
		t.Errorf("server %d (%s) counts %q digest mismatches\n%s", s.ID, kind(s), n, aboutDigests(s.Log()))
	}
}

const mismatch = "Digests are not matching"

// gaveUp is what Apache's server says when it gives a leader up, and synchronised when it begins with the next one.
var (
	gaveUp       = regexp.MustCompile(`Exception when (following|observing) the leader|shutdown (Follower|Observer)`)
	synchronised = regexp.MustCompile(`Peer state changed: (following|observing|leading) - synchronization`)
	reading      = regexp.MustCompile(`FileSnap - Reading snapshot (\S+)`)
	caughtUp     = regexp.MustCompile(`Getting a (?:diff|snapshot) from (?:the )?leader 0x([0-9a-f]+)`)
	repeated     = regexp.MustCompile(`not matching.* Last value:(\d+)`)
	snapshotting = regexp.MustCompile(`\[Snapshot Thread\].* Snapshotting: \S+ to (\S+)`)
)

// itsOwn says of the log of Apache's server whether all mismatches came in one of two ways that have nothing
// to do with what it was sent, and that a busy machine makes common:
//
//   - It has lost its leader, and reads its log onto its tree, beside the thread that still applies what was committed.
//   - It starts with a snapshot that it had written beside the writes of an earlier run, and that holds some of what
//     came after it.
//
// How often it was so since the first time, and with which txn at last, it says when one agrees again, which may be
// later; but what it counts by then is older than what it has had from its leader since.
func itsOwn(log string) bool {
	fuzzy := map[string]bool{}
	var without, loading bool
	var has uint64
	for line := range strings.Lines(log) {
		if m := snapshotting.FindStringSubmatch(line); m != nil {
			fuzzy[m[1]] = true
		}
		if m := reading.FindStringSubmatch(line); m != nil {
			without, loading = false, fuzzy[m[1]]
		}
		switch {
		case gaveUp.MatchString(line):
			without = true
		case synchronised.MatchString(line):
			without = false
		case strings.Contains(line, "Snapshot loaded in "):
			loading = false
		case strings.Contains(line, mismatch) && !without && !loading:
			if m := repeated.FindStringSubmatch(line); m == nil || number(m[1], 10) > has {
				return false
			}
		}
		if m := caughtUp.FindStringSubmatch(line); m != nil {
			has = max(has, number(m[1], 16))
		}
	}
	return true
}

func number(digits string, base int) uint64 {
	n, _ := strconv.ParseUint(digits, base, 64) // of a pattern's
	return n
}

// aboutDigests are the lines of a log by which one can tell where a mismatch comes from.
func aboutDigests(log string) string {
	about := regexp.MustCompile(`igest|napshot|the leader|shutdown|state changed`)
	var b strings.Builder
	for line := range strings.Lines(log) {
		if about.MatchString(line) {
			b.WriteString(line)
		}
	}
	return b.String()
}

func TestItsOwn(t *testing.T) {
	const (
		loses   = "1410 [QuorumPeer[myid=3]] WARN org.apache.zookeeper.server.quorum.Learner - Exception when following the leader"
		looks   = "1424 [QuorumPeer[myid=3]] INFO org.apache.zookeeper.server.quorum.QuorumPeer - Peer state changed: looking"
		differs = "1426 [CommitProcessor:3] WARN org.apache.zookeeper.server.DataTree - Message:Digests are not matching. Value is Zxid. Value:8589936810"
		syncs   = "1700 [QuorumPeer[myid=3]] INFO org.apache.zookeeper.server.quorum.QuorumPeer - Peer state changed: following - synchronization"
		writes  = "1800 [Snapshot Thread] INFO org.apache.zookeeper.server.persistence.FileTxnSnapLog - Snapshotting: 0x1 to /data/snapshot.1"
		older   = "2685 [CommitProcessor:1] WARN org.apache.zookeeper.server.DataTree - Message: Digests are not matching. Value is Zxid. Last value:12884901889"
		getsOld = "2658 [QuorumPeer[myid=1]] INFO org.apache.zookeeper.server.quorum.Learner - Getting a diff from the leader 0x300000000"
		gets    = "2658 [QuorumPeer[myid=1]] INFO org.apache.zookeeper.server.quorum.Learner - Getting a diff from the leader 0x300000964"
		saves   = "1800 [QuorumPeer[myid=3]] INFO org.apache.zookeeper.server.persistence.FileTxnSnapLog - Snapshotting: 0x1 to /data/snapshot.1"
		reads   = "209 [main] INFO org.apache.zookeeper.server.persistence.FileSnap - Reading snapshot /data/snapshot.1"
		loaded  = "400 [main] INFO org.apache.zookeeper.server.ZKDatabase - Snapshot loaded in 198 ms, highest zxid is 0x5, digest is 5"
	)
	for _, tc := range []struct {
		lines []string
		want  bool
	}{
		{[]string{syncs, loses, looks, differs, syncs}, true},
		{[]string{syncs, loses, looks, syncs, differs}, false},
		{[]string{syncs, differs, loses, looks}, false},
		{[]string{syncs, loses, reads, loaded, differs}, false},
		{[]string{writes, reads, differs, loaded}, true},
		{[]string{writes, reads, loaded, differs}, false},
		{[]string{saves, reads, differs, loaded}, false},
		{[]string{saves, loses, looks, syncs, reads, differs, loaded}, false},
		{[]string{reads, differs, loaded, writes}, false},
		{[]string{syncs, loses, differs, looks, syncs, gets, older}, true},
		{[]string{syncs, loses, differs, looks, syncs, getsOld, older}, false},
		{[]string{syncs, loses, looks, syncs, gets, differs}, false},
	} {
		if got := itsOwn(strings.Join(tc.lines, "\n")); got != tc.want {
			t.Errorf("%v, want %v, of\n%s", got, tc.want, strings.Join(tc.lines, "\n"))
		}
	}
}
