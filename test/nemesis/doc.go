// Package nemesis hurts real zkcore processes in every way while clients work on them, and has what
// the clients saw judged.
//
// One run is one seed. A [Plan] is drawn from it: three or five servers, their configuration, the
// setting, the clients, and the faults with their times. The settings are
//
//   - network namespaces (even seeds): each server has an address of its own on a bridge; packet
//     filters make the partitions, a shaper the slow links. See package netns.
//   - proxies (odd seeds): everything goes through a TCP proxy on loopback, which delays, holds up,
//     resets in mid-frame, leaves connections half open. See package proxy.
//
// Every partition can be made in both. What a run had is in its output ("setting: …").
//
// Servers are killed, killed at a failpoint (see core/failpoint; the servers are built with its tag),
// stopped by SIGSTOP, cut off in every shape, slowed down, given a full, slow or failing disk, have
// their files damaged while they are down, are restarted one by one, are stormed by clients. Half of
// the time it hits the leader.
//
// Clients are our own: they write down what they ask, hear and lose (package history) and keep
// sessions over connections, watches, ephemerals, sequences, multis, a lock.
//
// In the end all is healed. A run counts only if there was load before the first fault, faults
// struck, and a last write is answered. All trees must be equal then, no server may hold more files
// than before, all logs must agree, and the history is judged (package judge).
//
//	make nemesis                                                 all of it, with what it needs installed
//	go test ./test/nemesis                                       six runs with fresh seeds, and the kept ones
//	go test -v -run 'TestNemesis$' ./test/nemesis -nemesis.seed=7     the plan of a seed again
//	go test -run TestSoak -timeout 0 ./test/nemesis -nemesis.for=1h   as many runs as fit
//	go test -v -run TestFailover ./test/nemesis -nemesis.failover=5   how long no write is answered
//
// A plan is the same each time; what the processes make of it is not, so a seed that failed may pass.
// The history of a run that failed is kept with its logs and data directories, in a folder that the
// output names. Kept histories are judged again by package judge's tests.
//
// Namespaces take root, user namespaces or sudo, and the tools that test/clients/setup/install.sh
// installs. Where they can't be had the runs with even seeds are skipped, except with CI=true, where
// they fail.
package nemesis
