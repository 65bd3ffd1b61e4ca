package process

import (
	"fmt"
	"testing"
)

// TestFilter: what is in it it never lacks, and of what is not it knows nearly always.
func TestFilter(t *testing.T) {
	f := &filter{from: 5, complete: true}
	const n = 300_000
	var hashes []uint64
	for i := range n {
		hashes = append(hashes, hashPath(7, fmt.Sprintf("/a/%d", i)))
	}
	f.addAll(hashes)
	unsure := 0
	for i := range n {
		if f.lacks(5, hashPath(7, fmt.Sprintf("/a/%d", i))) {
			t.Fatalf("/a/%d is lacking", i)
		}
		if !f.lacks(5, hashPath(7, fmt.Appendf(nil, "/b/%d", i))) {
			unsure++
		}
	}
	if unsure > n/100 {
		t.Errorf("%d of %d are not known to be missing", unsure, n)
	}
	if f.lacks(4, hashPath(7, "/b")) {
		t.Error("it knows of a version before its own")
	}
	f.complete = false
	if f.lacks(5, hashPath(7, "/b")) {
		t.Error("it knows before it is complete")
	}
}
