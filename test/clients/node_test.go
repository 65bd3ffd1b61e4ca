package clients

import (
	"os/exec"
	"testing"

	"github.com/zkcore/zkcore/test/harness"
)

func node(t *testing.T, e *harness.Ensemble, which string) *exec.Cmd {
	t.Helper()
	return exec.Command(harness.Tool(t, "node", "nodejs"), here(t, "node/suite.js"), which, e.Connect(), cached(t, "node/node_modules"))
}

// What users of node-zookeeper-client do, on one server.
func TestNode(t *testing.T) {
	t.Parallel()
	e := harness.Start(t, harness.Options{})
	drive(t, e, node(t, e, "alone"),
		"nodes", "mkdirp", "sequence", "transaction", "acl", "watches", "many_in_flight", "lock_recipe", "chroot", "ephemerals_end_with_close")
}

// What happens to it when servers of an ensemble die.
func TestNodeServerDies(t *testing.T) {
	t.Parallel()
	e := harness.Start(t, harness.Options{Servers: 3})
	drive(t, e, node(t, e, "dies"),
		"session_moves", "watches_move", "lock_goes_on", "lock_turns", "transactions", "many_in_flight_when_it_dies", "watches_follow",
		"leader_dies", "session_ends")
}
