// Package oracle asks zkcore and a live server of Apache ZooKeeper the same and compares what they
// say. A run is a sequence of steps that a seed makes: a step is a request of one of several sessions,
// or a burst of them in one write, or a connection that comes or goes. Both servers get it, in
// lockstep: replies, events, their order, and what closes a connection are compared byte for byte
// after each step, the whole tree and the owners of its ephemerals after the last.
//
// What can't be equal is made so before: session ids count from the first that a run opened, zxids
// from where it began, and a time is checked to be one and the same for everything that carries its
// zxid. What may differ is listed in allowed_test.go, each with the sentence that says so in
// docs/compatibility.md or with the release that answers in another way; anything else fails.
//
// There are two Apaches: 3.9.5, which zkcore says to be like, and Debian's 3.8.0, of which the runs
// leave out what later releases have changed (releases_test.go). zkcore stands alone or as three servers, whose
// clients are spread over all of them. And zkcore is compared with itself, each choice of modules, built in and as
// processes, with zab and mem (I28): there nothing may differ.
//
//	go test ./test/oracle                                       kept sequences, then fresh seeds for a while
//	go test ./test/oracle -oracle.seeds=1000                    so many seeds for each pair of servers
//	go test ./test/oracle -run 'Oracle/3.9.5$' -oracle.seed=17  that one again
//	go test ./test/oracle -oracle.file=$PWD/x.json              a sequence of your own
//	ZKCORE_TEST_SERVER=apache go test ./test/oracle             Apache with itself: shows what can't be compared
//
// A run that differs is made as short as it can be, printed, and left as a file that can be kept in
// testdata. The servers live as long as the test and are swept between runs, so a run may begin with
// other versions at "/" than the next. Both servers have the same ones; after a run that differed they
// are started anew.
//
// Sequences know nothing of time: no container, TTL node or session goes by itself but where a step
// waits for it.
package oracle
