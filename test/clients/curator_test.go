package clients

import (
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/zkcore/zkcore/test/harness"
)

// Curator's recipes, with ZooKeeper's present Java client, against an ensemble of three.
func TestCurator(t *testing.T) {
	t.Parallel()
	jars := filepath.Join(cached(t, "curator"), "*")
	out := t.TempDir()
	javac := exec.Command(harness.Tool(t, "javac", "default-jdk-headless"), "-Xlint:all,-serial,-processing,-classfile", "-Werror",
		"-proc:none", "-cp", jars, "-d", out, here(t, "curator/Suite.java"))
	if text, err := javac.CombinedOutput(); err != nil {
		t.Fatalf("compile the Curator suite: %v: %s\n%s", err, harness.InstallHint, text)
	}
	e := harness.Start(t, harness.Options{Servers: 3})
	drive(t, e, exec.Command(harness.Tool(t, "java", "default-jre-headless"), "-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC",
		"-Dorg.slf4j.simpleLogger.defaultLogLevel=error", "-cp", jars+":"+out, "Suite", e.Connect()),
		"nodes", "acl", "transaction", "watches", "leader_latch", "leader_selector", "mutex", "read_write_lock",
		"semaphore", "tree_cache", "curator_cache", "node_cache", "atomic_long", "barriers", "queue", "group_member",
		"server_dies", "leader_dies", "session_lost")
}
