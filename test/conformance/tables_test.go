package conformance

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/zkcore/zkcore/core/recorded"
	"github.com/zkcore/zkcore/test/harness"
)

// leastRows is how many rows there have to be at least.
const leastRows = 900

// The tables stand as the suite would write them, there are enough rows, and where zkcore answers in another way
// than Apache, docs/compatibility.md says so.
func TestTables(t *testing.T) {
	doc, err := os.ReadFile(filepath.Join(harness.Root(), "docs", "compatibility.md"))
	if err != nil {
		t.Fatal(err)
	}
	rows := 0
	for _, tb := range allTables(t) {
		b, err := os.ReadFile(tb.file)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(b, tb.format()) {
			t.Errorf("%s is not as the suite writes it: run it with -conformance.rewrite", tb.file)
		}
		rows += len(tb.rows)
		for _, r := range tb.rows {
			if len(r.steps) == 0 {
				t.Errorf("%s:%d: %s: nothing is done", tb.file, r.line, r.name)
			}
			for _, s := range r.steps {
				if _, differs := s.want["zkcore"]; differs != (s.because != "") {
					t.Errorf("%s:%d: an answer of zkcore's own needs a reason, and nothing else does", tb.file, s.line)
				}
				if s.because != "" && !strings.Contains(string(doc), "| "+s.because+" |") {
					t.Errorf("%s:%d: docs/compatibility.md has no row called %q", tb.file, s.line, s.because)
				}
			}
		}
	}
	if rows < leastRows {
		t.Errorf("%d rows only, want %d", rows, leastRows)
	}
	for name, d := range recorded.Ours {
		if !strings.Contains(string(doc), "| "+d.Because+" |") {
			t.Errorf("recorded exchange %s: docs/compatibility.md has no row called %q", name, d.Because)
		}
	}
	all, err := recorded.Exchanges(recorded.Release)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%d rows, and %d recorded exchanges", rows, len(all))
}
