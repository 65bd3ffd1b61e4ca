package fuzztest

import (
	"strings"
	"testing"
)

var sink []byte

// A recorder is a test that may fail.
type recorder struct {
	testing.TB
	failed string
}

func (r *recorder) Helper()      {}
func (r *recorder) Name() string { return "recorded" }
func (r *recorder) Errorf(format string, args ...any) {
	r.failed = format
}

func TestCheck(t *testing.T) {
	for _, tc := range []struct {
		name    string
		input   int
		bytes   int
		allowed bool
	}{
		{"nothing for nothing", 0, 0, true},
		{"a page for nothing", 0, 4 << 10, true},
		{"a claim believed", 100, 1 << 20, false},
		{"four times the input", 1 << 20, 4 << 20, true},
		{"more than that", 1 << 20, slack*4<<20 + 1<<20, false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			r := &recorder{TB: t}
			Check(r, tc.input, func() { sink = make([]byte, tc.bytes) })
			if (r.failed == "") != tc.allowed {
				t.Errorf("allowed: %v (%s)", r.failed == "", r.failed)
			}
			if r.failed != "" && !strings.Contains(r.failed, "allocated") {
				t.Errorf("it says %q", r.failed)
			}
		})
	}
}

func BenchmarkCheck(b *testing.B) {
	for b.Loop() {
		Check(b, 10, func() {})
	}
}
