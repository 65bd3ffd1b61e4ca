package judge

import (
	"testing"

	"github.com/zkcore/zkcore/test/history"
)

func TestNothingIsNothing(t *testing.T) {
	v := Judge(&history.Run{}, Options{})
	if !v.OK() || v.Err() != nil || len(v.Blind) == 0 {
		t.Error(v)
	}
	if v = Judge(&history.Run{}, Options{LastWrite: true, MinRate: 1, MinFaults: 1}); !v.Has("run") || v.Counts["faults"] != 0 {
		t.Error(v)
	}
}
