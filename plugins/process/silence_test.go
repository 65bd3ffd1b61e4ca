package process

import (
	"testing"
	"testing/synctest"
	"time"

	pb "github.com/zkcore/zkcore/plugins/process/modulepb"
)

// TestSilence: a member waits as long as its peers would, counted from what was heard last.
func TestSilence(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		limit := nodePatience(&pb.ConsensusConfig{TickNs: int64(2 * time.Second), SyncLimit: 5})
		if limit != 10*time.Second {
			t.Fatalf("patience of %v", limit)
		}
		if d := nodePatience(&pb.ConsensusConfig{TickNs: int64(100 * time.Millisecond), SyncLimit: 2}); d != leastPatience {
			t.Errorf("patience of %v with short ticks", d)
		}
		var s silence
		ended := make(chan time.Time, 1)
		go s.watch(limit, func(time.Duration) { ended <- time.Now() })
		for range 100 { // longer than the limit in all
			time.Sleep(beat)
			s.heard()
		}
		last := time.Now()
		after := (<-ended).Sub(last)
		if after < limit || after > limit+limit/silenceSteps {
			t.Errorf("ended %v after the last word, want %v", after, limit)
		}
	})
}
