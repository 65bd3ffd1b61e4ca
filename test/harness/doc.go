// Package harness runs real server processes for the tests that span modules: it builds the zkcore
// binary, gives each server a folder, free ports and a zoo.cfg, starts, stops, kills and freezes the
// processes, and shows the end of their logs when a test fails.
//
//	e := harness.Start(t, harness.Options{Servers: 3, Observers: 1})
//	e.Leader().Kill9()
//	e.Await() // a leader among those that still run, and all of them serve
//
// It judges nothing: what a server must answer is the business of the test that uses it. With
// ZKCORE_TEST_SERVER=apache it runs Apache's server from Debian's package zookeeper in place of
// zkcore, so that a suite can be shown to be right before it judges anybody. Options.Apache does so for
// some of an ensemble's servers, and a test that changes Server.Apache between two runs of a server
// hands its data to the other program.
//
// Environment:
//
//	ZKCORE_TEST_SERVER  zkcore (default) or apache
//	ZKCORE_TEST_CONSENSUS  the consensus module of servers whose test says nothing of it
//	ZKCORE_TEST_BINARY  a zkcore binary to run instead of building one
//	ZKCORE_TEST_LOGS    a folder that gets a copy of each server's log
//
//	ZKCORE_TEST_APACHE_CLASSPATH  a release of Apache's other than Debian's
//
// No method may be called from several goroutines at once for the same server, except Addr, Pid,
// FourLetter, Mode, RSS and Log.
package harness
