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
		zab := nodePatience(&pb.ConsensusConfig{TickNs: int64(2 * time.Second), SyncLimit: 5})
		if zab != 10*time.Second {
			t.Fatalf("patience of %v", zab)
		}
		for _, tc := range []struct{ first, then, want time.Duration }{
			{zab, 0, zab},
			{100 * time.Millisecond, 0, leastPatience}, // short ticks
			{zab, 3 * time.Second, 3 * time.Second},    // what the member says counts, once it is there
		} {
			var s silence
			ended := make(chan time.Time, 1)
			s.limit(tc.first)
			go s.watch(func(time.Duration) { ended <- time.Now() })
			for range 100 { // longer than the limit in all
				time.Sleep(beat)
				s.heard()
			}
			if tc.then > 0 {
				s.limit(tc.then)
			}
			for range 100 {
				time.Sleep(beat)
				s.heard()
			}
			last := time.Now()
			after := (<-ended).Sub(last)
			if after < tc.want || after > tc.want+tc.want/silenceSteps {
				t.Errorf("ended %v after the last word, want %v", after, tc.want)
			}
		}
	})
}
