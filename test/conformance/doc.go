// Package conformance holds servers against tables: what a client sends, and what comes back for it. The tables
// are in testdata/tables, one for each operation or family of operations; the same tables are run against Apache
// ZooKeeper 3.9.5, which is right by definition, against Debian's 3.8.0, and against zkcore with each of its stores, and
// as an ensemble with Raft. What was recorded of Apache's servers is sent to all of them as well, and what has to come is
// what came then (recorded_test.go).
//
//	go test ./test/conformance                                            all servers, all tables
//	go test ./test/conformance -run 'Conformance/zkcore-mem/plain/create' one table on one server
//	go test ./test/conformance -run 'Recorded/zkcore-mem'                 the recorded exchanges on one server
//	go test ./test/conformance -run Conformance/3.9.5 -conformance.rewrite  writes down what that server answers
//
// # Tables
//
// A table begins with the configuration that its rows need, and goes on with its rows:
//
//	config plain
//
//	== a parent that is missing
//	a create ~/no/child data="x"
//	    NoNode z=+2
//
// A line that begins in the first column is something that is done, the indented lines below it are all that came
// of it. The first word of a line is the client that does it: any name; at its first mention it connects, with a
// new session. "~" is a znode that each row has for itself, "%" what describes its quota, below
// /zookeeper/quota. What happens on other clients' connections is shown
// with their names. Zxids are counted from where the row began, sessions are called by their clients; times are
// checked to be one and the same for everything that carries one zxid, and not shown.
//
// Where a server answers in another way there is a second answer: "3.8|" before each of its lines for Debian's,
// "zkcore|" for ours. The latter has to say "because|" with the first column of a row in docs/compatibility.md.
//
// Lines that begin with "&" are requests that leave in one write with the one above them. Those with "+" are the
// operations of a multi. Lines with "!" say for which servers a row is not, below its name, or a table, below its
// configuration. What the words of a request mean stands in request_test.go; "frame" and "wire" send bytes that no
// client would.
package conformance
