//go:build simbug

package sim

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

// A bug is a mistake that is planted in the code: see package simbug.
type bug struct {
	name  string
	what  string
	harsh bool   // it is about power and disks: the seeds are harsh ones
	in    string // the module that is run with it; empty: zab
	on    string // the store that has it; empty: the first of all
}

// bugs are all mistakes that there are. TestPlanted finds each of them.
var bugs = []bug{
	// Disks.
	{name: "ack-before-sync", what: "a txn is acked when it is written, before it is synced"},
	{name: "leader-counts-unsynced", what: "the leader counts itself before the txn is on its own disk"},
	{name: "vote-before-durable", what: "ACKEPOCH leaves before acceptedEpoch is on the disk"},
	{name: "vote-not-persisted", what: "acceptedEpoch is not written"},
	{name: "epoch-before-log", what: "currentEpoch is written before the log that it vouches for"},
	{name: "early-newleader-ack", what: "NEWLEADER is acked before what came with it is durable"},
	{name: "snapshot-unsynced", what: "a snapshot is renamed before it is synced"},
	{name: "log-name-unsynced", what: "the name of a new file of the log is not synced"},
	{name: "rename-unsynced", what: "the rename of an epoch file is not synced"},
	{name: "purge-too-much", what: "one file of the log too many is removed"},
	{name: "retry-failed-sync", what: "a sync that failed is tried again, and believed"},
	{name: "damage-as-torn", what: "a damaged record that was synced is cut as a torn end"},
	{name: "blank-votes", harsh: true, what: "a server without any data votes at once"},
	{name: "space-for-each-job", what: "what a file may grow ahead is counted for each batch that waits: with many there is never space"},
	{name: "full-disk-stays", what: "a server whose disk is full stays in the quorum"},
	// Elections and broadcast.
	{name: "vote-twice", what: "a server forgets which epoch it has accepted"},
	{name: "vote-ignores-zxid", what: "who knows more does not win"},
	{name: "commit-on-half", what: "n/2 acks commit"},
	{name: "lead-before-acks", what: "a leader leads before a quorum has its history"},
	{name: "skip-trunc", what: "TRUNC leaves the log as it is"},
	{name: "trunc-keeps-one", what: "TRUNC leaves one txn too many in the log"},
	{name: "diff-skips-one", what: "DIFF leaves out its first txn"},
	{name: "deliver-uncommitted", what: "UPTODATE commits what was only proposed"},
	{name: "deliver-log-at-start", what: "what the log holds is applied at the start, committed or not"},
	{name: "apply-out-of-order", what: "of the txns that are committed together one comes too late"},
	{name: "zxid-reused", what: "a request that is refused takes no new zxid"},
	{name: "sync-local", what: "sync is answered with what the node has"},
	{name: "sync-unconfirmed", what: "a leader answers sync without asking whether it still leads"},
	{name: "requeue-early", what: "requests are sent again before it is known which were proposed"},
	{name: "joins-before-its-requests", what: "a learner is let in before its earlier requests were proposed"},
	// Sessions.
	{name: "touches-dropped", what: "the leader does not hear of clients of other servers"},
	{name: "stale-timeouts", what: "a new leader gives sessions the time that they had when it led before"},
	{name: "expire-on-follower", what: "a server ends a session that is silent on it"},
	{name: "ahead-client-accepted", what: "a client that has seen more than the server is let in"},
	{name: "password-unchecked", what: "anybody gets a session"},
	{name: "session-moved-ignored", what: "writes come from the server that a client has left"},
	{name: "dead-session-welcomed", what: "a client comes back to a session that has ended"},
	{name: "dead-session-writes", what: "the leader does not look whether a session is alive"},
	{name: "refused-by-anybody", what: "a leader that nobody follows any more tells a client that its session is over"},
	{name: "close-misses-unapplied", what: "the end of a session forgets the ephemerals that are not applied yet"},
	// Watches, replies, the tree.
	{name: "watch-after-reply", what: "an event comes behind the reply to the change"},
	{name: "set-watches-no-catch-up", what: "a watch that is set again says nothing of what happened meanwhile"},
	{name: "watch-fires-twice", what: "a watch stays when it has fired"},
	{name: "event-to-all", what: "an event goes to who may not read the node"},
	{name: "removed-in-all-modes", what: "who stops to watch a path in one way does not watch it in any"},
	{name: "multi-read-fails-whole", what: "a multiRead with something that the client may not read shows nothing"},
	{name: "read-overtakes-write", what: "a read is answered before the write in front of it"},
	{name: "multi-not-undone", what: "what a multi that fails had prepared stays"},
	{name: "version-not-raised", what: "a setData without data keeps the version"},
	{name: "sequence-from-children", what: "the number of a sequential node is that of the children"},
	{name: "creates-lost-in-snapshot", what: "a snapshot does not keep the counter of sequential nodes"},
	{name: "quota-of-the-past", what: "what is proposed and not applied does not count in a quota"},
	{name: "usage-from-nothing", what: "a quota counts from when it was set, not what is there"},
	{name: "local-unmarked", what: "a write of a local session does not say that it is one"},
	{name: "local-of-anybody", what: "a server takes a session that nobody knows for a local one of its own"},
	// Stores that write behind.
	{name: "durable-when-gathered", on: "bolt", what: "what has gathered is called durable"},
	{name: "flush-says-too-much", on: "bolt", what: "what is written names a zxid that is not in it"},
	{name: "flush-forgets-deletes", on: "bolt", what: "a record that is deleted stays in the file"},
	{name: "empty-entries-not-written", on: "bolt", what: "an entry of a table that is empty, as of an ephemeral, is not written"},
	{name: "cache-keeps-old", on: "bolt", what: "a record that the cache has stays there as it was when it changes"},
	{name: "hot-keeps-old", on: "bolt", what: "a record that was read last is shown as it was when it changes"},
	{name: "reset-keeps-cache", on: "bolt", what: "the cache keeps what it had of the state before a leader's snapshot"},
	{name: "reset-keeps-file", on: "bolt", what: "a leader's snapshot goes into the file that there is"},
	{name: "zxid-before-data", on: "bolt", what: "the zxid is in the file one transaction before the data"},
	{name: "digest-not-updated", what: "setACL leaves the digest as it was"},
	// Raft.
	{in: "raft", name: "ack-before-sync", what: "an entry is acked when it is written, before it is synced"},
	{in: "raft", name: "vote-not-persisted", what: "term and vote are not written"},
	{in: "raft", name: "state-before-log", harsh: true, what: "the state file names a term before the end of the one before it is in the log"},
	{in: "raft", name: "blank-votes", harsh: true, what: "a server without any data votes at once"},
	{in: "raft", name: "leader-counts-unsynced", what: "the leader counts itself before the entry is on its own disk"},
	{in: "raft", name: "vote-before-durable", what: "a server asks for votes before its term and its own vote are on the disk"},
	{in: "raft", name: "lost-votes", what: "a server that lost what it had votes and acks"},
	{in: "raft", name: "deliver-log-at-start", what: "what the log holds is applied at the start, committed or not"},
	{in: "raft", name: "answers-ahead", what: "a learner is answered before it has what the answer is about"},
	{in: "raft", name: "apply-out-of-order", what: "of the txns that are committed together one comes too late"},
	{in: "raft", name: "leads-before-delivered", what: "a leader prepares before what was committed before it is applied"},
	{in: "raft", name: "sync-unconfirmed", what: "a leader answers sync without asking whether it still leads"},
	{in: "raft", name: "joins-before-its-requests", what: "a learner is let in before its earlier requests were proposed"},
	{in: "raft", name: "snapshot-while-serving", what: "a server takes a snapshot on the connection on which its requests wait"},
}

// TestBugsAreListed holds the list against the code.
func TestBugsAreListed(t *testing.T) {
	listed := map[string]bool{}
	for _, b := range bugs {
		if listed[b.in+" "+b.name] {
			t.Errorf("%q is listed twice", b.name)
		}
		listed[b.in+" "+b.name], listed[b.name] = true, true
	}
	planted := map[string]bool{}
	root := filepath.Join("..", "..")
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() {
			if path != root && (strings.HasPrefix(d.Name(), ".") || d.Name() == "testdata" || d.Name() == "build" || d.Name() == "dist") {
				return filepath.SkipDir
			}
			return nil
		}
		if !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
			return nil
		}
		f, err := parser.ParseFile(token.NewFileSet(), path, nil, 0)
		if err != nil {
			return err
		}
		ast.Inspect(f, func(n ast.Node) bool {
			c, ok := n.(*ast.CallExpr)
			if !ok || len(c.Args) != 1 {
				return true
			}
			s, ok := c.Fun.(*ast.SelectorExpr)
			if !ok || s.Sel.Name != "On" {
				return true
			}
			if x, ok := s.X.(*ast.Ident); !ok || x.Name != "simbug" {
				return true
			}
			lit, ok := c.Args[0].(*ast.BasicLit)
			if !ok {
				t.Errorf("%s: the name of a bug must be a literal", path)
				return true
			}
			name, err := strconv.Unquote(lit.Value)
			if err != nil {
				t.Error(err)
			}
			if planted[name] = true; !listed[name] {
				t.Errorf("%s: %q is not in the list", path, name)
			}
			return true
		})
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, b := range bugs {
		if !planted[b.name] {
			t.Errorf("%q is listed, and nowhere in the code", b.name)
		}
	}
}
