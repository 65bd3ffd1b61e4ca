package clients

import (
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/zkcore/zkcore/test/harness"
)

// curator compiles a program of the folder, and returns the command that runs it.
func curator(t *testing.T, e *harness.Ensemble, program string) *exec.Cmd {
	t.Helper()
	jars := filepath.Join(cached(t, "curator"), "*")
	out := t.TempDir()
	javac := exec.Command(harness.Tool(t, "javac", "default-jdk-headless"), "-Xlint:all,-serial,-processing,-classfile", "-Werror",
		"-proc:none", "-cp", jars, "-d", out, here(t, "curator/Driver.java"), here(t, "curator/"+program+".java"))
	if text, err := javac.CombinedOutput(); err != nil {
		t.Fatalf("compile the Curator suite: %v: %s\n%s", err, harness.InstallHint, text)
	}
	return exec.Command(harness.Tool(t, "java", "default-jre-headless"), "-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC",
		"-Dorg.slf4j.simpleLogger.defaultLogLevel=error", "-cp", jars+":"+out, program, e.Connect())
}

// Curator's recipes, with ZooKeeper's present Java client, against an ensemble of three.
func TestCurator(t *testing.T) {
	t.Parallel()
	e := harness.Start(t, harness.Options{Servers: 3})
	drive(t, e, curator(t, e, "Suite"),
		"nodes", "acl", "transaction", "watches", "leader_latch", "leader_selector", "mutex", "read_write_lock",
		"semaphore", "tree_cache", "curator_cache", "node_cache", "atomic_long", "barriers", "queue", "group_member",
		"server_dies", "leader_dies", "session_lost")
}

// Each of them with its server dying in the middle of it.
func TestCuratorDying(t *testing.T) {
	t.Parallel()
	e := harness.Start(t, harness.Options{Servers: 3})
	drive(t, e, curator(t, e, "Dying"),
		"mutex", "read_write_lock", "semaphore", "leader_latch", "leader_selector", "tree_cache", "curator_cache",
		"node_cache", "atomic_long", "shared_count", "barrier", "double_barrier", "queue", "queue_with_locks",
		"group_member", "transaction")
}
