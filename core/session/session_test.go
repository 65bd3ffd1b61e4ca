package session

import (
	"math"
	"slices"
	"testing"

	"pgregory.net/rapid"
)

func TestSessionLivesForItsTimeoutAndATickAtMost(t *testing.T) {
	const tick = 2000
	for _, now := range []int64{0, 1, 1999, 2000, 123456789} {
		s := New(tick)
		s.Add(7, 5000, now)
		if dead := s.Expire(now + 5000); len(dead) != 0 {
			t.Errorf("at %d: expired within its timeout", now)
		}
		if s.Next() <= now+5000 || s.Next() > now+5000+tick {
			t.Errorf("at %d: ends at %d", now, s.Next())
		}
		if dead := s.Expire(s.Next()); !slices.Equal(dead, []int64{7}) {
			t.Errorf("at %d: expired %v", now, dead)
		}
		if s.Len() != 0 || s.Next() != 0 || s.Touch(7, 5000, now) {
			t.Errorf("at %d: something is left", now)
		}
	}
}

func TestFresh(t *testing.T) {
	s := New(1000)
	s.Add(1, 20000, 0)
	s.Add(1, 2000, 500) // its client came back with less
	s.Add(2, 4000, 0)
	s.Add(3, 30000, 0)
	s.Fresh(10000, 20000)
	for id, want := range map[int64]int64{1: 13000, 2: 15000, 3: 31000} {
		if end, ok := s.End(id); !ok || end != want {
			t.Errorf("%d ends at %d, want %d", id, end, want)
		}
	}
	if dead := s.Expire(14000); !slices.Equal(dead, []int64{1}) {
		t.Errorf("expired %v", dead)
	}
}

// TestPauses: what does not count of the time is added to every session's end, to the
// millisecond: pauses of less than a tick add up to no more than they were.
func TestPauses(t *testing.T) {
	s := New(1000)
	s.Add(1, 4000, 0)
	for range 10 {
		s.Pause(70)
	}
	s.Add(2, 4000, 1000)
	for id, want := range map[int64]int64{1: 5700, 2: 5700} {
		if end, ok := s.End(id); !ok || end != want {
			t.Errorf("%d ends at %d, want %d", id, end, want)
		}
	}
	if s.Next() != 5700 {
		t.Errorf("the next end is at %d", s.Next())
	}
	if dead := s.Expire(5699); dead != nil {
		t.Errorf("expired %v", dead)
	}
	s.Touch(2, 4000, 5000)
	if dead := s.Expire(5700); !slices.Equal(dead, []int64{1}) {
		t.Errorf("expired %v", dead)
	}
	s.Fresh(10000, 4000)
	if end, _ := s.End(2); end != 14700 {
		t.Errorf("after a fresh timeout: %d", end)
	}
}

func TestTouch(t *testing.T) {
	s := New(1000)
	s.Add(1, 4000, 0)
	s.Add(2, 4000, 0)
	if !s.Touch(1, 4000, 3000) || s.Touch(3, 4000, 3000) {
		t.Error("touch knows the wrong sessions")
	}
	if dead := s.Expire(5000); !slices.Equal(dead, []int64{2}) {
		t.Errorf("expired %v", dead)
	}
	// What is heard of late, as from a connection that its client has left, ends nothing
	// sooner.
	if s.Touch(1, 4000, 500); !slices.Equal(s.Expire(7000), nil) {
		t.Error("a sign of life that came late has ended a session")
	}
	// A client that comes back with a shorter timeout has that one.
	s.Add(1, 1000, 3000)
	if dead := s.Expire(5000); !slices.Equal(dead, []int64{1}) {
		t.Errorf("expired %v", dead)
	}
	// Who does not know the timeout means the one that counts.
	s.Add(2, 4000, 10000)
	s.Touch(2, 1000, 10000)
	s.Touch(2, 2000, 13000)
	if !s.Heard(2, 14000) || s.Heard(1, 14000) {
		t.Error("heard from the wrong sessions")
	}
	if end, ok := s.End(2); !ok || end != 17000 {
		t.Errorf("ends at %d", end)
	}
}

func TestRemovedSessionsDoNotExpire(t *testing.T) {
	s := New(1000)
	s.Add(1, 4000, 0)
	s.Add(2, 4000, 0)
	s.Remove(1)
	s.Remove(99)
	if dead := s.Expire(1 << 40); !slices.Equal(dead, []int64{2}) {
		t.Errorf("expired %v", dead)
	}
	s.Add(3, 4000, 0)
	s.Reset()
	if s.Len() != 0 || s.Next() != 0 || s.Expire(1<<40) != nil {
		t.Error("a reset table knows something")
	}
	s.Add(4, 1000, 5000)
	if s.Len() != 1 || s.Next() != 7000 {
		t.Errorf("after a reset: %d sessions, next at %d", s.Len(), s.Next())
	}
}

// The table and a map from session to its end say the same, whatever happens.
func TestTableIsTheModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		tick := rapid.Int64Range(0, 30).Draw(t, "tick")
		s := New(tick)
		tick = max(tick, 1)
		model, timeouts := map[int64]int64{}, map[int64]int32{}
		now := int64(0)
		for range rapid.IntRange(1, 60).Draw(t, "steps") {
			now += rapid.Int64Range(0, 40).Draw(t, "pass")
			id := rapid.Int64Range(-3, 3).Draw(t, "id")
			timeout := rapid.Int32Range(0, 100).Draw(t, "timeout")
			end := ((now+int64(timeout))/tick + 1) * tick
			switch rapid.IntRange(0, 5).Draw(t, "what") {
			case 0, 1:
				s.Add(id, timeout, now)
				model[id], timeouts[id] = end, timeout
			case 2:
				_, ok := model[id]
				if s.Touch(id, timeout, now) != ok {
					t.Fatalf("touch of %d is not %v", id, ok)
				}
				if ok && end > model[id] {
					model[id], timeouts[id] = end, timeout
				}
			case 3:
				s.Remove(id)
				delete(model, id)
			case 5:
				_, ok := model[id]
				if s.Heard(id, now) != ok {
					t.Fatalf("heard from %d is not %v", id, ok)
				}
				if ok {
					model[id] = max(model[id], ((now+int64(timeouts[id]))/tick+1)*tick)
				}
			}
			var want []int64
			for id, end := range model {
				if end <= now {
					want = append(want, id)
					delete(model, id)
				}
			}
			slices.Sort(want)
			if got := s.Expire(now); !slices.Equal(got, want) {
				t.Fatalf("at %d: expired %v, want %v", now, got, want)
			}
			if s.Len() != len(model) {
				t.Fatalf("%d sessions, want %d", s.Len(), len(model))
			}
			for _, end := range model {
				if s.Next() == 0 || s.Next() > end {
					t.Fatalf("next is %d, and a session ends at %d", s.Next(), end)
				}
			}
		}
	})
}

func none(int64) bool { return false }

func TestIDs(t *testing.T) {
	const ms = 0x1900022c65e // what a clock says
	g := NewIDs(1, ms)
	first := g.Next(none)
	if want := int64(1)<<56 | (ms&(1<<40-1))<<16; first != want {
		t.Errorf("first id is %#x, want %#x", first, want)
	}
	if id := g.Next(none); id != first+1 {
		t.Errorf("second id is %#x", id)
	}
	g.Saw(first + 100)
	g.Saw(first + 50)
	g.Saw(2 << 56) // another server's
	if id := g.Next(none); id != first+101 {
		t.Errorf("id behind a higher one is %#x", id)
	}
	if id := g.Next(func(id int64) bool { return id < first+105 }); id != first+105 {
		t.Errorf("id behind taken ones is %#x", id)
	}
}

func TestIDsOfEveryServerStayItsOwn(t *testing.T) {
	for server := int64(0); server < 256; server++ {
		g := NewIDs(server, 0)
		g.next = g.server | low
		last, again := g.Next(none), g.Next(none)
		for _, id := range []int64{last, again} {
			if uint64(id)>>56 != uint64(server) {
				t.Errorf("server %d gives %#x", server, id)
			}
			if id == 0 || id == math.MinInt64 {
				t.Errorf("server %d gives an id that is none", server)
			}
		}
	}
}

// Numbers are given up to what is reserved, which goes ahead of them.
func TestReservedIDs(t *testing.T) {
	for _, server := range []int64{1, 127, 128, 255} {
		g := NewIDs(server, 1_800_000_000_000)
		if g.Left() != 0 {
			t.Errorf("%d may be given, and nothing is reserved", g.Left())
		}
		high := g.After(100)
		g.Reserve(high)
		if g.Left() != 100 {
			t.Errorf("%d may be given, want 100", g.Left())
		}
		g.Next(none)
		g.Saw(g.After(49))
		if g.Left() != 49 {
			t.Errorf("%d may be given, want 49", g.Left())
		}
		g.Saw(g.After(49))
		if g.Left() != 0 {
			t.Errorf("%d may be given beyond what is reserved", g.Left())
		}
		g.Since(1_900_000_000_000)
		if id := g.Next(none); (id>>56)&0xff != server || id&(1<<56-1) <= 1_900_000_000_000&(1<<40-1)<<16 || g.Left() != 0 {
			t.Errorf("after a later time %#x is given, %d left", id, g.Left())
		}
		g.Since(1_000_000_000_000)
		if id := g.Next(none); id&(1<<56-1) <= 1_900_000_000_000&(1<<40-1)<<16 {
			t.Errorf("an earlier time takes it back to %#x", id)
		}
	}
}
