package conformance

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/zkcore/zkcore/test/harness"
)

var rewriteFlag = flag.Bool("conformance.rewrite", false, "write what the servers answer into the tables; of zkcore, what is not as Apache's needs a reason then")

// A target is a kind of server that the tables are run against.
type target struct {
	name  string
	label string // of its own answers
	group string // of several targets, for rows that are not for them; or ""
	start func(t *testing.T, c *configuration) *harness.Ensemble
}

var targets = []target{
	{"3.9.5", "", "", func(t *testing.T, c *configuration) *harness.Ensemble { return c.apache(t, harness.ApacheRelease(t)) }},
	{"3.8", "3.8", "", func(t *testing.T, c *configuration) *harness.Ensemble { return c.apache(t, harness.ApacheClasspath(t)) }},
	{"zkcore-mem", "zkcore", "", func(t *testing.T, c *configuration) *harness.Ensemble { return c.zkcore(t, "zab", "mem") }},
	{"zkcore-bolt", "zkcore", "", func(t *testing.T, c *configuration) *harness.Ensemble { return c.zkcore(t, "zab", "bolt") }},
	{"zkcore-raft", "zkcore", ensembles, func(t *testing.T, c *configuration) *harness.Ensemble { return c.ensemble(t, "raft", "mem") }},
	{"zkcore-processes", "zkcore", ensembles, func(t *testing.T, c *configuration) *harness.Ensemble {
		return c.ensemble(t, "process:raft", "process:bolt")
	}},
}

// ensembles are the targets that are no standalone server.
const ensembles = "zkcore-ensemble"

func TestConformance(t *testing.T) {
	tables := allTables(t)
	for _, tg := range targets {
		t.Run(tg.name, func(t *testing.T) {
			for i := range configurations {
				c := &configurations[i]
				t.Run(c.name, func(t *testing.T) { tg.run(t, c, tables) })
			}
		})
	}
}

func allTables(t *testing.T) []*table {
	t.Helper()
	files, err := filepath.Glob("testdata/tables/*.table")
	if err != nil || len(files) == 0 {
		t.Fatalf("no tables: %v", err)
	}
	var tables []*table
	for _, f := range files {
		tb, err := readTable(f)
		if err != nil {
			t.Fatal(err)
		}
		if !slices.ContainsFunc(configurations, func(c configuration) bool { return c.name == tb.config }) {
			t.Fatalf("%s: no configuration is called %q", f, tb.config)
		}
		tables = append(tables, tb)
	}
	return tables
}

// run runs all tables of a configuration on one server.
func (tg *target) run(t *testing.T, c *configuration, tables []*table) {
	e := tg.start(t, c)
	sc := &scene{addr: e.Servers[0].Addr(), label: tg.label, writing: *rewriteFlag, fresh: c.name == "fresh", super: c.extra["DigestAuthenticationProvider.enabled"] != "false", sessions: map[string]*session{}, times: map[int64]int64{}}
	// Debian's server in an ensemble may go to sleep over a committed write, until somebody wakes it with
	// another request (ZOOKEEPER-4537).
	sc.forgets = tg.name == "3.8" && c.one
	if err := sc.login(); err != nil {
		t.Fatal(err)
	}
	for _, tb := range tables {
		if tb.config != c.name || tg.excluded(tb.head) {
			continue
		}
		t.Run(strings.TrimSuffix(filepath.Base(tb.file), ".table"), func(t *testing.T) {
			for _, r := range tb.rows {
				if tg.excluded(r.notes) {
					continue
				}
				if !t.Run(r.name, func(t *testing.T) { sc.run(t, tb, r) }) && len(sc.admin.c.waiting) > 0 {
					t.Fatal("no row can be begun any more")
				}
			}
			if *rewriteFlag {
				if err := os.WriteFile(tb.file, tb.format(), 0o644); err != nil {
					t.Error(err)
				}
			}
		})
	}
}

// run does a row.
func (sc *scene) run(t *testing.T, tb *table, r *row) {
	if err := sc.begin(r); err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := sc.end(); err != nil {
			t.Errorf("%s:%d: behind the row: %v", tb.file, r.line, err)
		}
	}()
	for _, s := range r.steps {
		got, err := sc.step(s)
		if err != nil {
			t.Fatalf("%s:%d: %s: %v\n%s", tb.file, s.line, s.text[0], err, block(got))
		}
		if sc.writing {
			s.rewrite(sc.label, got)
			continue
		}
		if want := s.answer(sc.label); !slices.Equal(got, want) {
			t.Fatalf("%s:%d: %s\ngets\n%swant\n%s", tb.file, s.line, strings.Join(s.text, "\n"), block(got), block(want))
		}
	}
}

func block(lines []string) string {
	var b strings.Builder
	for _, l := range lines {
		fmt.Fprintf(&b, "\t%s\n", l)
	}
	return b.String()
}

func quote(s string) string { return strconv.Quote(s) }

func unquote(s string) string {
	if u, err := strconv.Unquote(s); err == nil {
		return u
	}
	return s
}
