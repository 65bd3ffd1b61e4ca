package clients

import (
	"os/exec"
	"testing"

	"github.com/zkcore/zkcore/test/harness"
)

func kazoo(t *testing.T, e *harness.Ensemble, suite string) *exec.Cmd {
	t.Helper()
	return exec.Command(cached(t, "kazoo/bin/python"), "-B", "-u", here(t, "kazoo/"+suite), e.Connect())
}

// kazoo's calls and recipes, on one server.
func TestKazooRecipes(t *testing.T) {
	t.Parallel()
	e := harness.Start(t, harness.Options{})
	drive(t, e, kazoo(t, e, "recipes.py"),
		"server_version", "nodes", "versions", "errors", "sequence", "big_values", "many_in_flight",
		"transactions", "acl", "add_auth", "bad_auth", "chroot", "watches",
		"data_watch", "children_watch", "tree_cache",
		"lock", "lock_contenders", "lock_timeout", "lock_read_write", "semaphore",
		"election", "barrier", "double_barrier", "queue_recipe", "locking_queue", "counter", "party",
		"partitioner", "lease", "ephemerals_end_with_close", "ephemerals_end_with_expiry", "session_taken_over")
}

// What happens to kazoo's sessions when servers of an ensemble die.
func TestKazooServerDies(t *testing.T) {
	t.Parallel()
	e := harness.Start(t, harness.Options{Servers: 3})
	drive(t, e, kazoo(t, e, "failover.py"),
		"same_session", "ephemeral_kept", "watches_fire", "recipes_go_on", "lock_kept",
		"leader_dies", "writes_once", "ephemerals_everywhere", "session_ends")
}

// Each of kazoo's recipes with its server dying in the middle of it.
func TestKazooDying(t *testing.T) {
	t.Parallel()
	e := harness.Start(t, harness.Options{Servers: 3})
	drive(t, e, kazoo(t, e, "dying.py"),
		"lock", "lock_read_write", "semaphore", "election", "barrier", "double_barrier", "queue_recipe", "locking_queue",
		"counter", "party", "partitioner", "lease", "data_watch", "children_watch", "tree_cache", "transactions")
}

// kazoo reads from a server that is alone, and goes on when it is not.
func TestKazooReadOnly(t *testing.T) {
	t.Parallel()
	e := harness.Start(t, harness.Options{Servers: 3, TickTimeMS: 400, Extra: map[string]string{"readonlymode.enabled": "true"}})
	drive(t, e, kazoo(t, e, "readonly.py"), "reads_and_comes_back", "watches_there")
}
