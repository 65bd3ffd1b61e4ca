package process

import (
	"encoding/json"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/zkcore/zkcore/test/harness"
)

// TestBenchMatrix has zkbench compare choices of modules, built in and as processes, and start servers that hold znodes
// again.
func TestBenchMatrix(t *testing.T) {
	dir := t.TempDir()
	build := exec.Command("go", "build", "-o", dir+string(filepath.Separator), "./cmd/zkbench", "./cmd/zkcore", "./cmd/zkcore-consensus-zab", "./cmd/zkcore-storage-bolt")
	build.Dir = harness.Root()
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	choices := []string{"raft+mem", "zab+bolt:processes"}
	out, err := exec.Command(filepath.Join(dir, "zkbench"), "compare", "-json", "-apache=false", "-zkcore", filepath.Join(dir, "zkcore"), "-modules", choices[0]+","+choices[1],
		"-sections", "one,memory", "-rounds", "1", "-warmup", "10ms", "-duration", "100ms", "-memory-znodes", "3000", "-settle", "10ms", "-dir", dir).Output()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	var c struct {
		Loads []struct {
			Targets map[string]struct {
				PerSecond float64 `json:"operations_per_second"`
				RSS       float64 `json:"rss_bytes"`
			}
		}
		Memory   map[string]struct{ Znodes int }
		Openings map[string]struct {
			Clean  float64 `json:"after_a_clean_stop_ms"`
			Killed float64 `json:"after_kill_9_ms"`
		} `json:"start_with_znodes"`
	}
	if err := json.Unmarshal(out, &c); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	if len(c.Loads) != 4 {
		t.Fatalf("%d workloads in\n%s", len(c.Loads), out)
	}
	for _, choice := range choices {
		for i, l := range c.Loads {
			if l.Targets[choice].PerSecond <= 0 {
				t.Errorf("%s, workload %d: %+v", choice, i, l.Targets[choice])
			}
		}
		if c.Memory[choice].Znodes != 3000 || c.Openings[choice].Clean <= 0 || c.Openings[choice].Killed <= 0 {
			t.Errorf("%s: %+v, %+v", choice, c.Memory[choice], c.Openings[choice])
		}
	}
	// Both programs of the modules count.
	if alone, apart := c.Loads[0].Targets[choices[0]].RSS, c.Loads[0].Targets[choices[1]].RSS; apart < 2*alone {
		t.Errorf("memory: %.0f bytes built in, %.0f with modules as processes", alone, apart)
	}
}
