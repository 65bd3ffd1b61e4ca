package conn

import "math"

// A Throttle is a bucket of tokens, one of which each new session or returning client
// costs, as Apache's (zookeeper.connection_throttle_*).
type Throttle struct {
	Tokens            int64 // so many at most; 0: connections are not throttled
	FillMS, FillCount int64 // so many come back in so many ms; 0: 1
	// FreezeMS is how often the chance of being refused by lot changes; -1: nobody is.
	// It grows by DropIncrease while no token is left, and falls by DropDecrease when at
	// most DecreaseRatio of them are in use.
	FreezeMS                                  int64
	DropIncrease, DropDecrease, DecreaseRatio float64
	// Weighed makes a client cost the weight of what it comes for. Tokens and FillCount
	// are meant for global sessions then.
	Weighed                                bool
	GlobalWeight, LocalWeight, RenewWeight int64
}

// An Errand is what a client comes for.
type Errand uint8

// The errands.
const (
	GlobalSession Errand = iota
	LocalSession
	Renewal // of a session that it has
)

// A Bucket is a Throttle in use. It is not safe for concurrent use.
type Bucket struct {
	cfg          Throttle
	tokens       int64
	filled, froz int64 // ms: when tokens came, when the chance was looked at
	chance       float64
}

// NewBucket makes a full bucket.
func NewBucket(t Throttle, nowMS int64) *Bucket {
	t.FillMS, t.FillCount = max(t.FillMS, 1), max(t.FillCount, 1)
	if t.Weighed {
		t.Tokens, t.FillCount = t.Tokens*t.GlobalWeight, t.FillCount*t.GlobalWeight
	}
	return &Bucket{cfg: t, tokens: t.Tokens, filled: nowMS, froz: nowMS}
}

// Admit says whether a client is let in, and takes what it costs. draw is asked for a
// number in [0, 1) if there is a chance to decide by.
func (b *Bucket) Admit(nowMS int64, e Errand, draw func() float64) bool {
	t := &b.cfg
	if t.Tokens <= 0 {
		return true
	}
	if passed := nowMS - b.filled; passed > t.FillMS {
		// In floats first: a bucket that nobody asked for a year must not overflow.
		if float64(passed)*float64(t.FillCount)/float64(t.FillMS) >= float64(t.Tokens) {
			b.tokens = t.Tokens
		} else {
			b.tokens = min(b.tokens+passed*t.FillCount/t.FillMS, t.Tokens)
		}
		b.filled = nowMS
	}
	if t.FreezeMS >= 0 && b.unlucky(nowMS, draw) {
		return false
	}
	if need := t.cost(e); b.tokens >= need {
		b.tokens -= need
		return true
	}
	return false
}

// unlucky draws, after the chance was adapted.
func (b *Bucket) unlucky(nowMS int64, draw func() float64) bool {
	t := &b.cfg
	if nowMS-b.froz > t.FreezeMS {
		used := t.Tokens - b.tokens
		switch {
		case used == t.Tokens && b.chance < 1:
			b.chance = min(b.chance+t.DropIncrease, 1)
		case used <= int64(math.Floor(float64(t.Tokens)*t.DecreaseRatio+0.5)) && b.chance > 0:
			b.chance = max(b.chance-t.DropDecrease, 0)
		}
		b.froz = nowMS
	}
	return b.chance > 0 && draw() < b.chance
}

func (t *Throttle) cost(e Errand) int64 {
	switch {
	case !t.Weighed:
		return 1
	case e == LocalSession:
		return t.LocalWeight
	case e == Renewal:
		return t.RenewWeight
	}
	return t.GlobalWeight
}

// Deficit is how many tokens are in use.
func (b *Bucket) Deficit() int64 { return b.cfg.Tokens - b.tokens }

// Chance is that of a client to be refused by lot.
func (b *Bucket) Chance() float64 { return b.chance }
