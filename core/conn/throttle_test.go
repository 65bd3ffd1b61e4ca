package conn

import (
	"math"
	"testing"
)

func TestBucket(t *testing.T) {
	never := func() float64 { t.Error("lots are drawn"); return 0 }
	b := NewBucket(Throttle{Tokens: 3, FillMS: 100, FillCount: 2, FreezeMS: -1}, 1000)
	admit := func(at int64, want ...bool) {
		t.Helper()
		for i, w := range want {
			if got := b.Admit(at, Renewal, never); got != w {
				t.Errorf("at %d, client %d: let in %v", at, i, got)
			}
		}
	}
	admit(1000, true, true, true, false)
	if d := b.Deficit(); d != 3 {
		t.Errorf("deficit %d", d)
	}
	admit(1100, false) // more than fill_time must pass
	admit(1101, true, true, false)
	admit(1152, false)
	admit(1252, true, true, true, false) // 151 ms bring three
	admit(1_000_000, true, true, true, false)
	admit(math.MaxInt64/2, true, true, true, false)

	b = NewBucket(Throttle{}, 0)
	for range 1000 {
		admit(0, true)
	}
}

func TestBucketWeighs(t *testing.T) {
	b := NewBucket(Throttle{Tokens: 2, FreezeMS: -1, Weighed: true, GlobalWeight: 3, LocalWeight: 1, RenewWeight: 2}, 0)
	for i, tc := range []struct {
		e    Errand
		want bool
	}{{GlobalSession, true}, {Renewal, true}, {Renewal, false}, {LocalSession, true}, {LocalSession, false}} {
		if got := b.Admit(1, tc.e, nil); got != tc.want {
			t.Errorf("client %d: let in %v", i, got)
		}
	}
	if !b.Admit(2, GlobalSession, nil) { // three came back
		t.Error("the fill count has no weight")
	}
}

// TestBucketByLot: while there is no token left the chance grows, each freeze time a step;
// it falls when the bucket is full enough.
func TestBucketByLot(t *testing.T) {
	lot := 0.0
	draw := func() float64 { return lot }
	b := NewBucket(Throttle{Tokens: 2, FillMS: 1000, FillCount: 1, FreezeMS: 10, DropIncrease: 0.4, DropDecrease: 0.3, DecreaseRatio: 0.5}, 0)
	step := func(at int64, l float64, want bool, chance float64) {
		t.Helper()
		lot = l
		if got := b.Admit(at, GlobalSession, draw); got != want || math.Abs(b.Chance()-chance) > 1e-9 {
			t.Errorf("at %d: let in %v, chance %v", at, got, b.Chance())
		}
	}
	step(1, 0, true, 0) // no chance, no lot
	step(2, 0, true, 0)
	step(3, 0, false, 0) // no token
	step(11, 0.39, false, 0.4)
	step(20, 0.39, false, 0.4)
	step(22, 0.9, false, 0.8)
	step(33, 0.9, false, 1)
	step(44, 0.9, false, 1)
	step(1010, 0.69, false, 0.7) // half of them are there: 1 - 0.3
	step(1012, 0.71, true, 0.7)
}
