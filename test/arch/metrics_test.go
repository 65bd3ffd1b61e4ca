package arch

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/zkcore/zkcore/core/metrics"
)

var (
	// fed is a call by which a metric is counted or observed.
	fed = regexp.MustCompile(`\.(?:Add|add|Observe|observe|ObserveKey|count)\("([a-z][a-z0-9_]*)"`)
	own = regexp.MustCompile(`\bzkcore_[a-z0-9_]+\b`)
)

// notShown are counted for what shows them in a later release: the admin server.
var notShown = map[string]bool{"fsync_threshold_exceed_count": true}

// TestMetricsAreShown: a metric that is counted is one that is shown, each of ours that is shown is
// counted, and there is what the documentation for operators names. A name that nobody knows is no
// error where it is counted, and a counter that nobody feeds looks like a server that is well.
func TestMetricsAreShown(t *testing.T) {
	root := filepath.Join("..", "..")
	registry := metrics.New(nil)
	counted, named := map[string]bool{}, map[string]bool{}
	for _, s := range sources(t) {
		if s.test || !in(s.pkg, "core", "consensus-raft", "consensus-zab", "plugins", "storage-bolt", "storage-mem") || in(s.pkg, "core/fuzztest") {
			continue
		}
		text, err := os.ReadFile(filepath.Join(root, s.file))
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range fed.FindAllStringSubmatch(string(text), -1) {
			counted[m[1]] = true
			if !registry.Known(m[1]) && !notShown[m[1]] {
				t.Errorf("%s counts %s, which is in no list of core/metrics", s.file, m[1])
			}
		}
		for _, name := range own.FindAllString(string(text), -1) {
			named[name] = true
		}
	}
	if len(counted) < 30 {
		t.Errorf("%d metrics were found: the pattern is not what it was", len(counted))
	}
	registry.Counters(func(name string, _ int64) {
		if strings.HasPrefix(name, "zkcore_") && !counted[name] {
			t.Errorf("%s is shown, and nothing counts it", name)
		}
	})
	text, err := os.ReadFile(filepath.Join(root, "docs", "operations.md"))
	if err != nil {
		t.Fatal(err)
	}
	documented := 0
	for _, name := range own.FindAllString(string(text), -1) {
		documented++
		if name = strings.TrimPrefix(name, "zk_"); !named[name] && name != "zkcore_" {
			t.Errorf("docs/operations.md names %s, which is nowhere", name)
		}
	}
	if documented < 5 {
		t.Errorf("%d names were found in docs/operations.md", documented)
	}
}
