package arch

import (
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// namedTest is a test as docs/track-record.md names it: a folder and a function, and
// perhaps one case of it.
var namedTest = regexp.MustCompile("`([a-z][a-z0-9/-]*) ((?:Test|Fuzz)[A-Za-z0-9_]+)((?:/[A-Za-z0-9_,.+-]+)*)`")

// functions are the names of the functions in the tests of a folder.
func functions(t *testing.T, folder string) map[string]bool {
	t.Helper()
	names := map[string]bool{}
	files, err := filepath.Glob(filepath.Join("..", "..", filepath.FromSlash(folder), "*_test.go"))
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		f, err := parser.ParseFile(token.NewFileSet(), file, nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		for _, d := range f.Decls {
			if fn, ok := d.(*ast.FuncDecl); ok && fn.Recv == nil {
				names[fn.Name.Name] = true
			}
		}
	}
	return names
}

// TestTrackRecord: each test that the track record names is there.
func TestTrackRecord(t *testing.T) {
	raw, err := os.ReadFile(filepath.Join("..", "..", "docs", "track-record.md"))
	if err != nil {
		t.Fatal(err)
	}
	known := map[string]map[string]bool{}
	named, rows := 0, 0
	for i, line := range strings.Split(string(raw), "\n") {
		tests := namedTest.FindAllStringSubmatch(line, -1)
		if strings.HasPrefix(line, "| ") && !strings.HasPrefix(line, "| ---") && !strings.Contains(line, "| tests |") && !strings.Contains(line, "| shown by |") {
			rows++
			if len(tests) == 0 && !strings.Contains(line, " with ") {
				t.Errorf("line %d names no test, and nothing that it comes with: %.60s", i+1, line)
			}
		}
		for _, m := range tests {
			named++
			folder, name, sub := m[1], m[2], m[3]
			if known[folder] == nil {
				known[folder] = functions(t, folder)
			}
			if !known[folder][name] {
				t.Errorf("line %d: there is no %s in %s", i+1, name, folder)
			}
			if name == "TestScripts" {
				file := filepath.Join("..", "..", filepath.FromSlash(folder), "testdata", "scripts", strings.TrimPrefix(sub, "/")+".txt")
				if _, err := os.Stat(file); err != nil {
					t.Errorf("line %d: %v", i+1, err)
				}
			}
		}
	}
	if rows < 60 || named < 100 {
		t.Errorf("%d rows with %d tests were read: the table is not what it was", rows, named)
	}
}
