package arch

import (
	"bytes"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"testing"
)

// planted are the mistakes that the code can make, by their names.
func planted(t *testing.T) (names []string) {
	for _, s := range sources(t) {
		if s.test || in(s.pkg, "test") {
			continue
		}
		f, err := parser.ParseFile(token.NewFileSet(), filepath.Join("..", "..", s.file), nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		ast.Inspect(f, func(n ast.Node) bool {
			c, ok := n.(*ast.CallExpr)
			if !ok || len(c.Args) != 1 {
				return true
			}
			s, ok := c.Fun.(*ast.SelectorExpr)
			if !ok || s.Sel.Name != "On" {
				return true
			}
			if x, ok := s.X.(*ast.Ident); !ok || x.Name != "simbug" {
				return true
			}
			name, err := strconv.Unquote(c.Args[0].(*ast.BasicLit).Value)
			if err != nil {
				t.Fatal(err)
			}
			names = append(names, name)
			return true
		})
	}
	if len(names) < 25 {
		t.Fatalf("only %d bugs are in the code: the walk is broken", len(names))
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// TestEachBugIsLookedFor: what can be planted is what TestPlanted plants.
func TestEachBugIsLookedFor(t *testing.T) {
	f, err := parser.ParseFile(token.NewFileSet(), filepath.Join("..", "sim", "bugs_test.go"), nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	var listed []string
	ast.Inspect(f, func(n ast.Node) bool {
		kv, ok := n.(*ast.KeyValueExpr)
		if !ok {
			return true
		}
		if k, ok := kv.Key.(*ast.Ident); ok && k.Name == "name" {
			name, err := strconv.Unquote(kv.Value.(*ast.BasicLit).Value)
			if err != nil {
				t.Fatal(err)
			}
			listed = append(listed, name)
		}
		return true
	})
	slices.Sort(listed)
	listed = slices.Compact(listed) // one may be planted in each of two modules
	if inCode := planted(t); !slices.Equal(inCode, listed) {
		t.Errorf("the code asks for %q, and test/sim plants %q", inCode, listed)
	}
}

// TestNoBugIsBuilt: a server that is built for use holds nothing of the mistakes that tests
// plant in it.
func TestNoBugIsBuilt(t *testing.T) {
	root := filepath.Join("..", "..")
	names := planted(t)
	binary := filepath.Join(t.TempDir(), "zkcore")
	build := exec.Command("go", "build", "-o", binary, "./cmd/zkcore")
	build.Dir = root
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	b, err := os.ReadFile(binary)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Contains(b, []byte("fsync of the transaction log took long")) {
		t.Fatal("not even a line that a server logs is found in it")
	}
	for _, name := range names {
		if bytes.Contains(b, []byte(name)) {
			t.Errorf("%q is in the binary", name)
		}
	}
}
