// Package arch holds the test of the rules by which packages may import each
// other. The rules are those of docs/architecture.md.
package arch

import (
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

const base = "github.com/zkcore/zkcore"

// A source is one Go file and what it imports.
type source struct {
	file    string // from the root of the checkout
	pkg     string // the folder, "" for the root
	test    bool
	imports []string
}

func sources(t *testing.T) []source {
	t.Helper()
	root := filepath.Join("..", "..")
	var all []source
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name := d.Name()
		if d.IsDir() {
			if path != root && (strings.HasPrefix(name, ".") || name == "testdata" || name == "build" || name == "dist") {
				return filepath.SkipDir
			}
			return nil
		}
		if !strings.HasSuffix(name, ".go") {
			return nil
		}
		f, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.ImportsOnly)
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(root, path)
		if err != nil {
			return err
		}
		s := source{file: rel, pkg: filepath.ToSlash(filepath.Dir(rel)), test: strings.HasSuffix(name, "_test.go")}
		for _, imp := range f.Imports {
			p, err := strconv.Unquote(imp.Path.Value)
			if err != nil {
				return err
			}
			s.imports = append(s.imports, p)
		}
		all = append(all, s)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// ours turns an import path into a folder of this repository.
func ours(imp string) (folder string, ok bool) {
	if imp == base {
		return "", true
	}
	return strings.CutPrefix(imp, base+"/")
}

func standard(imp string) bool {
	first, _, _ := strings.Cut(imp, "/")
	return !strings.Contains(first, ".")
}

func in(folder string, parents ...string) bool {
	for _, p := range parents {
		if folder == p || strings.HasPrefix(folder, p+"/") {
			return true
		}
	}
	return false
}

var (
	codec  = []string{"core/jute", "core/proto", "core/quorum", "core/txn", "core/zkerr", "core/txnlog", "core/vfs", "core/failpoint", "core/simbug"}
	engine = []string{"core/znode", "core/session", "core/watch", "core/engine", "core/inv"}
	// What consensus modules have around their protocols, whichever those are.
	around = []string{"core/member"}
	// The judges of the engine share nothing with it.
	judges = []string{"core/model"}
	// What tests of several packages have in common.
	forTests = []string{"core/fuzztest", "core/recorded"}
	// A state machine is told; these would let it ask.
	worldly = []string{"net", "os", "time", "sync", "context", "log", "math/rand", "crypto/rand", "syscall"}
	modules = []string{"consensus-raft", "consensus-zab", "storage-bolt", "storage-mem"}
)

// violation says what is wrong with one import of one file, or nothing.
func violation(s source, imp string) string {
	folder, own := ours(imp)
	switch {
	case own && in(folder, modules...) && !in(s.pkg, folderOf(folder), "cmd", "test") && !(s.test && in(s.pkg, folderOf(folder))):
		return "imports an implementation: only cmd and test may"
	case own && in(folder, modules...) && in(s.pkg, "cmd") && !s.test && s.file != filepath.FromSlash("cmd/zkcore/modules.go") && s.pkg != program(folder):
		return "names an implementation outside cmd/zkcore/modules.go and the implementation's own program"
	}
	if own && (in(folder, judges...) || in(folder, forTests...)) && !s.test && !in(s.pkg, "test") {
		return "the model, what fuzz targets assert and what was recorded are for tests"
	}
	if s.test {
		return "" // what a test drags in, no user of the package gets
	}
	switch {
	case in(s.pkg, "plugins/process"):
		if own && !in(folder, "plugins") {
			return "the boundary knows the contracts, and no module"
		}
	case in(s.pkg, "plugins"):
		if !standard(imp) && !(own && in(folder, "plugins")) {
			return "a contract requires nothing but the standard library"
		}
	case in(s.pkg, "core/jute", "core/zkerr"):
		if !standard(imp) && !(s.pkg == "core/jute" && folder == "core/zkerr") {
			return "the bottom of the codec imports nothing of ours"
		}
	case in(s.pkg, codec...):
		// The files hold transactions by their zxid, which is a type of the contract.
		zxid := s.pkg == "core/txnlog" && folder == "plugins/consensus"
		// Mistakes are planted in storage modules, too, which import nothing of core.
		bugs := s.pkg == "core/simbug" && folder == "plugins/simbug"
		if !standard(imp) && !(own && in(folder, codec...)) && !zxid && !bugs {
			return "the codec imports the standard library and the codec"
		}
		if !in(s.pkg, "core/vfs", "core/txnlog", "core/failpoint") && in(imp, "os", "net", "syscall") {
			return "records are bytes: no files, no sockets"
		}
	case in(s.pkg, around...):
		if !standard(imp) && !(own && (in(folder, codec...) || in(folder, "plugins/consensus"))) {
			return "what is around a protocol imports the codec and the contract"
		}
	case in(s.pkg, engine...):
		if !standard(imp) && !(own && (in(folder, codec...) || in(folder, engine...) || in(folder, "plugins"))) {
			return "the engine imports the standard library, the codec and the contracts"
		}
		if in(imp, worldly...) {
			return "the engine is told, it does not ask"
		}
	case in(s.pkg, judges...):
		if !standard(imp) && !(own && in(folder, "core/jute", "core/proto", "core/zkerr")) {
			return "the model shares nothing with what it is to find wrong"
		}
		if in(imp, worldly...) && imp != "net/netip" {
			return "the model is told, it does not ask"
		}
	case in(s.pkg, forTests...):
		if !standard(imp) && !(own && in(folder, "core/jute", "core/proto", "core/zkerr")) {
			return "what tests have in common knows the codec, and nothing of what it is to test"
		}
	case in(s.pkg, "core"):
		if own && !in(folder, "core", "plugins") {
			return "core imports core and plugins"
		}
	case in(s.pkg, "consensus-zab/protocol", "consensus-raft/protocol") && own && in(folder, around...):
		return "a protocol knows nothing of what is around it"
	case in(s.pkg, "consensus-zab"):
		if !standard(imp) && !(own && (in(folder, codec...) || in(folder, around...) || in(folder, "core/inv", "plugins/consensus", "consensus-zab"))) {
			return "a consensus module imports its contract, the codec and core/member"
		}
	case in(s.pkg, "storage-bolt"):
		if !standard(imp) && !in(imp, "go.etcd.io/bbolt") && !(own && in(folder, "plugins/storage", "plugins/simbug", "storage-bolt")) {
			return "a store imports its contract and what it is made of"
		}
	case in(s.pkg, "consensus-raft"):
		lib := in(imp, "go.etcd.io/raft/v3") || imp == "google.golang.org/protobuf/proto"
		if !standard(imp) && !lib && !(own && (in(folder, codec...) || in(folder, around...) || in(folder, "core/inv", "plugins/consensus", "consensus-raft"))) {
			return "a consensus module imports its contract, the codec and core/member"
		}
		if in(s.pkg, "consensus-raft/protocol") && in(imp, worldly...) {
			return "the protocol is told, it does not ask"
		}
	case in(s.pkg, "storage-mem"):
		if !standard(imp) && !(own && (in(folder, "plugins/storage") || in(folder, "storage-mem"))) {
			return "a storage module imports its contract"
		}
	}
	return ""
}

// program is the folder of a module's own program: cmd/zkcore-storage-mem for storage-mem.
func program(folder string) string { return "cmd/zkcore-" + folderOf(folder) }

func folderOf(folder string) string {
	first, _, _ := strings.Cut(folder, "/")
	return first
}

func TestImports(t *testing.T) {
	n := 0
	for _, s := range sources(t) {
		for _, imp := range s.imports {
			n++
			if why := violation(s, imp); why != "" {
				t.Errorf("%s imports %q: %s", s.file, imp, why)
			}
		}
	}
	if n < 100 {
		t.Errorf("only %d imports were looked at: the walk is broken", n)
	}
}

// TestRules tries the rules on imports that each of them forbids.
func TestRules(t *testing.T) {
	for _, tc := range []struct{ file, imp string }{
		{"plugins/storage/a.go", "golang.org/x/sys/unix"},
		{"plugins/consensus/a.go", base + "/core/jute"},
		{"core/jute/a.go", base + "/core/proto"},
		{"core/proto/a.go", "net"},
		{"core/txn/a.go", base + "/core/engine"},
		{"core/engine/a.go", "time"},
		{"core/znode/a.go", "sync/atomic"},
		{"core/engine/a.go", "log/slog"},
		{"core/session/a.go", "math/rand/v2"},
		{"core/watch/a.go", base + "/core/node"},
		{"core/model/a.go", base + "/core/znode"},
		{"core/model/a.go", base + "/core/txn"},
		{"core/model/a.go", "time"},
		{"core/node/a.go", base + "/core/model"},
		{"core/engine/a.go", base + "/core/model"},
		{"core/proto/a.go", base + "/core/fuzztest"},
		{"core/node/a.go", base + "/core/recorded"},
		{"core/recorded/a.go", base + "/core/node"},
		{"core/node/a.go", base + "/storage-mem"},
		{"core/node/a_test.go", base + "/storage-mem"},
		{"core/node/a.go", base + "/cmd/zkcore"},
		{"consensus-zab/a.go", base + "/core/engine"},
		{"consensus-raft/a.go", base + "/consensus-zab/protocol"},
		{"consensus-raft/a.go", "go.etcd.io/bbolt"},
		{"consensus-raft/protocol/a.go", base + "/core/member"},
		{"consensus-zab/protocol/a.go", base + "/core/member"},
		{"core/member/a.go", base + "/core/node"},
		{"core/txnlog/a.go", base + "/core/member"},
		{"consensus-raft/protocol/a.go", "crypto/rand"},
		{"consensus-zab/a.go", "go.etcd.io/raft/v3"},
		{"consensus-zab/a.go", "github.com/prometheus/client_golang/prometheus"},
		{"storage-mem/a.go", base + "/core/jute"},
		{"storage-bolt/a.go", base + "/core/vfs"},
		{"cmd/zkcore/main.go", base + "/consensus-zab"},
		{"cmd/zkcore-storage-mem/main.go", base + "/consensus-zab"},
		{"plugins/process/a.go", base + "/core/inv"},
		{"plugins/process/a.go", base + "/storage-mem"},
		{"plugins/storage/a.go", "google.golang.org/grpc"},
	} {
		file := filepath.FromSlash(tc.file)
		s := source{file: file, pkg: filepath.ToSlash(filepath.Dir(file)), test: strings.HasSuffix(file, "_test.go")}
		if violation(s, tc.imp) == "" {
			t.Errorf("%s may import %q", tc.file, tc.imp)
		}
	}
}

// TestNoReplace: a module with a replace can't be installed by go install.
func TestNoReplace(t *testing.T) {
	n := 0
	for _, dir := range []string{".", "plugins", "plugins/process", "core", "consensus-raft", "consensus-zab", "storage-bolt", "storage-mem"} {
		raw, err := os.ReadFile(filepath.Join("..", "..", dir, "go.mod"))
		if err != nil {
			t.Fatal(err)
		}
		n++
		for line := range strings.Lines(string(raw)) {
			if strings.HasPrefix(strings.TrimSpace(line), "replace") {
				t.Errorf("%s/go.mod: %s", dir, strings.TrimSpace(line))
			}
		}
	}
	if n != 8 {
		t.Errorf("looked at %d modules", n)
	}
}

// TestDocs: every package says what lives in it.
func TestDocs(t *testing.T) {
	documented := make(map[string]bool)
	packages := make(map[string]bool)
	for _, s := range sources(t) {
		if s.test && !in(s.pkg, "test") {
			continue
		}
		packages[s.pkg] = true
		f, err := parser.ParseFile(token.NewFileSet(), filepath.Join("..", "..", s.file), nil, parser.PackageClauseOnly|parser.ParseComments)
		if err != nil {
			t.Fatal(err)
		}
		if f.Doc != nil && strings.TrimSpace(f.Doc.Text()) != "" {
			documented[s.pkg] = true
		}
	}
	for pkg := range packages {
		if !documented[pkg] {
			t.Errorf("%s has no package comment", pkg)
		}
	}
}
