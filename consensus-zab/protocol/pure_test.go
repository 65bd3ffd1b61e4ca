package protocol

import (
	"go/parser"
	"go/token"
	"os"
	"strconv"
	"strings"
	"testing"
)

// What this package imports decides nothing by itself: no clock, no chance, no files, no
// network, no goroutines to meet.
func TestPure(t *testing.T) {
	allowed := map[string]bool{"encoding/binary": true, "fmt": true, "math": true, "slices": true, "sort": true, "strconv": true}
	files, err := os.ReadDir(".")
	if err != nil {
		t.Fatal(err)
	}
	seen := 0
	for _, f := range files {
		if !strings.HasSuffix(f.Name(), ".go") || strings.HasSuffix(f.Name(), "_test.go") {
			continue
		}
		seen++
		src, err := parser.ParseFile(token.NewFileSet(), f.Name(), nil, parser.ImportsOnly)
		if err != nil {
			t.Fatal(err)
		}
		for _, i := range src.Imports {
			path, err := strconv.Unquote(i.Path.Value)
			if err != nil {
				t.Fatal(err)
			}
			if !allowed[path] && !strings.HasPrefix(path, "github.com/zkcore/zkcore/") {
				t.Errorf("%s imports %s", f.Name(), path)
			}
		}
	}
	if seen == 0 {
		t.Error("there is nothing to look at")
	}
}
