package arch

import (
	"go/version"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// release is a directive that names a Go release, not only a version of the language: what an
// older Go on a new machine is to fetch must exist.
var release = regexp.MustCompile(`(?m)^(go|toolchain) (?:go)?(\d+\.\d+\.\d+)$`)

// goDirectives are those of a go.mod or go.work.
func goDirectives(t *testing.T, file string) map[string]string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("..", "..", file))
	if err != nil {
		t.Fatal(err)
	}
	out := map[string]string{}
	for _, m := range release.FindAllStringSubmatch(string(b), -1) {
		out[m[1]] = "go" + m[2]
	}
	if out["go"] == "" {
		t.Fatalf("%s has no line that names a release of Go, as go 1.26.0", file)
	}
	return out
}

// TestGoVersion: the workspace asks for what the neediest of its modules needs, and README.md
// names it.
func TestGoVersion(t *testing.T) {
	work := goDirectives(t, "go.work")
	mods, err := filepath.Glob(filepath.Join("..", "..", "*", "go.mod"))
	if err != nil || len(mods) < 6 {
		t.Fatalf("found %d modules: %v", len(mods), err)
	}
	most := goDirectives(t, "go.mod")["go"]
	for _, mod := range mods {
		if v := goDirectives(t, strings.TrimPrefix(filepath.ToSlash(mod), "../../"))["go"]; version.Compare(v, most) > 0 {
			t.Errorf("%s needs %s, and the server that is built with it says %s", mod, v, most)
		}
	}
	if work["go"] != most {
		t.Errorf("go.work says %s, go.mod %s", work["go"], most)
	}
	if tc := goDirectives(t, "go.mod")["toolchain"]; tc != work["toolchain"] || version.Compare(tc, most) < 0 {
		t.Errorf("go.work names the toolchain %q, go.mod %q", work["toolchain"], tc)
	}
	readme, err := os.ReadFile(filepath.Join("..", "..", "README.md"))
	if err != nil {
		t.Fatal(err)
	}
	if want := "Go " + strings.TrimPrefix(version.Lang(most), "go"); !strings.Contains(string(readme), want) {
		t.Errorf("README.md does not say %q", want)
	}
}
