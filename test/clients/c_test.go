package clients

import (
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/zkcore/zkcore/test/harness"
)

// Apache's C client, multi-threaded, against an ensemble of three.
func TestC(t *testing.T) {
	t.Parallel()
	bin := filepath.Join(t.TempDir(), "suite")
	cc := exec.Command(harness.Tool(t, "gcc", "gcc"), "-std=gnu11", "-Wall", "-Wextra", "-Werror", "-DTHREADED",
		"-o", bin, here(t, "c/suite.c"), "-lzookeeper_mt", "-lpthread")
	if out, err := cc.CombinedOutput(); err != nil {
		t.Fatalf("compile the C client (Debian: libzookeeper-mt-dev): %v: %s\n%s", err, harness.InstallHint, out)
	}
	e := harness.Start(t, harness.Options{Servers: 3})
	drive(t, e, exec.Command(bin, e.Connect()),
		"nodes", "big_value", "ephemeral_sequential", "watches", "multi", "async", "acl",
		"server_dies", "changed_meanwhile", "multi_dies", "async_dies", "session_expires")
}
