// Package e2e runs ensembles of real processes, hurts them, and checks what was
// promised: every acknowledged write is there, once, and all servers have the
// same tree. The servers are run by test/harness, the clients are ours
// (internal/client); other people's clients are in test/clients.
package e2e
