// Package e2e runs ensembles of real processes, hurts them, and checks what was
// promised: every acknowledged write is there, once, and all servers have the
// same tree. The servers are run by test/harness, the clients are ours
// (internal/client); other people's clients are in test/clients.
//
// TestChaos does so at random:
//
//	ZKCORE_CHAOS_SECONDS  for how long it begins new runs (30)
//	ZKCORE_CHAOS_SEED     the seed of the first run, as a failure shows it
package e2e
