package main

import (
	"bytes"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// TestPairs measures two floors in turn, in place of a server with its modules built in and as
// processes.
func TestPairs(t *testing.T) {
	floors := floorTargets(os.Args[0], 100)
	p := plan{progress: io.Discard, dir: t.TempDir(), Connections: 2, Outstanding: 4, Size: 100, Znodes: 10,
		Warmup: 10 * time.Millisecond, Duration: 50 * time.Millisecond}
	bc, err := p.pairs(t.Context(), floors[1], floors[0], []string{"set", "lone"}, 1, 3)
	if err != nil {
		t.Fatal(err)
	}
	bc.Processes = "both"
	for i, name := range []string{"set", "lone"} {
		pl := bc.Loads[i]
		if pl.Workload != name || len(pl.PerSecond) != 3 || len(pl.BuiltIn) != 3 || len(pl.More) != 3 {
			t.Fatalf("%+v", pl)
		}
		for k := range 3 {
			// On a busy machine there may be none in the time.
			if want := ratio(pl.Process[k].PerSecond, pl.BuiltIn[k].PerSecond); pl.PerSecond[k] != want {
				t.Errorf("%s, pair %d: %v, want %v", name, k, pl.PerSecond[k], want)
			}
			if want := pl.Process[k].Latency.P50 - pl.BuiltIn[k].Latency.P50; pl.More[k] != want {
				t.Errorf("%s, pair %d: %v µs more, want %v", name, k, pl.More[k], want)
			}
		}
	}
	var out bytes.Buffer
	(&boundary{Pairs: 3, Cases: []*boundaryCase{bc}}).text(&out)
	for _, want := range []string{"both in a process", "set", "lone", "per CPU s", "median µs more"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("no %q in\n%s", want, out.String())
		}
	}
}

// TestFamily: a server's modules are its children.
func TestFamily(t *testing.T) {
	cmd := exec.Command("sleep", "60")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { cmd.Process.Kill(); cmd.Wait() }()
	ids, err := family(os.Getpid())
	if err != nil || ids[0] != os.Getpid() || !slices.Contains(ids, cmd.Process.Pid) {
		t.Errorf("%v without %d: %v", ids, cmd.Process.Pid, err)
	}
}

// TestModuleTarget: what zoo.cfg is given, and what is refused.
func TestModuleTarget(t *testing.T) {
	dir := t.TempDir()
	bin := filepath.Join(dir, "zkcore")
	for _, name := range []string{"zkcore", "zkcore-consensus-zab"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte("no program"), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	built, err := moduleTarget(bin, nil, "zab", "mem", "")
	if err != nil || built.config != "consensus=zab\nstorage=mem\n" {
		t.Errorf("%q, %v", built.config, err)
	}
	far, err := moduleTarget(bin, nil, "zab", "mem", "consensus")
	if err != nil || !strings.HasPrefix(far.config, "consensus="+bin+"-consensus-zab\nzkcore.plugin.zab.sha256=") || !strings.HasSuffix(far.config, "\nstorage=mem\n") {
		t.Errorf("%q, %v", far.config, err)
	}
	if _, err := moduleTarget(bin, nil, "zab", "mem", "both"); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a program that is not there: %v", err)
	}
	if _, err := moduleTarget(bin, nil, "zab", "mem", "neither"); err == nil {
		t.Error("neither is a module")
	}
	for _, bad := range [][]string{{"modules"}, {"modules", "-zkcore", bin, "-pairs", "0"}, {"modules", "-zkcore", bin, "-workloads", "none"}, {"modules", "-zkcore", bin, "-processes", "neither"}} {
		if _, err := runCommand(t, bad...); err == nil || errors.Is(err, errUsage) {
			t.Errorf("%q: %v, want an error", bad, err)
		}
	}
}
