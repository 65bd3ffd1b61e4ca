package watch

import (
	"fmt"
	"maps"
	"runtime"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

type fire func(*Table, string, []uint64) []uint64

// What each mode hears of, and whether it is used up.
func TestModes(t *testing.T) {
	events := map[string]fire{
		"changed /a":  func(t *Table, _ string, d []uint64) []uint64 { return t.Changed("/a", d) },
		"deleted /a":  func(t *Table, _ string, d []uint64) []uint64 { return t.Deleted("/a", d) },
		"children /a": func(t *Table, _ string, d []uint64) []uint64 { return t.ChildrenChanged("/a", d) },
		"changed /a/b": func(t *Table, _ string, d []uint64) []uint64 {
			return t.Changed("/a/b", d)
		},
		"children /a/b": func(t *Table, _ string, d []uint64) []uint64 { return t.ChildrenChanged("/a/b", d) },
		"deleted /ab":   func(t *Table, _ string, d []uint64) []uint64 { return t.Deleted("/ab", d) },
	}
	for _, tc := range []struct {
		mode  Mode
		hears string // once, or for ever
	}{
		{Data, "changed /a 1, deleted /a 1"},
		{Child, "children /a 1, deleted /a 1"},
		{Data | Child, "changed /a 1, children /a 1, deleted /a 1"},
		{Persistent, "changed /a *, children /a *, deleted /a *"},
		{Recursive, "changed /a *, changed /a/b *, deleted /a *"},
		{Persistent | Recursive | Data, "changed /a *, changed /a/b *, children /a *, deleted /a *"},
	} {
		var hears []string
		for name, f := range events {
			table := New()
			table.Add(5, "/a", tc.mode)
			first := f(table, "", nil)
			if len(first) == 0 {
				continue
			}
			if !slices.Equal(first, []uint64{5}) {
				t.Errorf("mode %b hears %v", tc.mode, first)
			}
			if again := f(table, "", nil); len(again) > 0 {
				hears = append(hears, name+" *")
			} else {
				hears = append(hears, name+" 1")
			}
		}
		slices.Sort(hears)
		if got := strings.Join(hears, ", "); got != tc.hears {
			t.Errorf("mode %b hears %s, want %s", tc.mode, got, tc.hears)
		}
	}
}

// A standard watch that is used up leaves a persistent one beside it alone.
func TestUsedUpBesidePersistent(t *testing.T) {
	table := New()
	table.Add(1, "/a", Data)
	table.Add(1, "/a", Persistent)
	table.Add(1, "/a", Data)
	if _, _, n := table.Counts(); n != 2 {
		t.Errorf("%d watches", n)
	}
	table.Changed("/a", nil)
	if m := table.Has(1, "/a"); m != Persistent {
		t.Errorf("left is %b", m)
	}
	if m := table.Remove(1, "/a", Data); m != 0 {
		t.Errorf("removed %b", m)
	}
	if m := table.Remove(1, "/a", Any); m != Persistent {
		t.Errorf("removed %b", m)
	}
	if !table.Empty() {
		t.Error("not empty")
	}
}

func TestRecursiveOfTheRoot(t *testing.T) {
	table := New()
	table.Add(1, "/", Recursive)
	table.Add(2, "/a", Recursive)
	table.Add(1, "/a/b", Data)
	if got := table.Changed("/a/b", []uint64{99}); !slices.Equal(got, []uint64{99, 1, 2}) {
		t.Errorf("fired %v", got)
	}
	if got := table.Deleted("/", nil); !slices.Equal(got, []uint64{1}) {
		t.Errorf("fired %v", got)
	}
}

func TestThePathIsCopied(t *testing.T) {
	b := []byte("/a")
	table := New()
	table.Add(1, string(b), Data)
	b[1] = 'x'
	if table.Has(1, "/a") != Data {
		t.Error("the table kept a path that was not its own")
	}
}

func TestManyOnOnePathAndManyPaths(t *testing.T) {
	table := New()
	const n = 2000
	for w := uint64(n); w > 0; w-- {
		table.Add(w, "/hot", Data)
	}
	got := table.Changed("/hot", nil)
	if len(got) != n || !slices.IsSorted(got) || !table.Empty() {
		t.Errorf("%d fired", len(got))
	}
	// A watcher that sets watches for ever does not grow for ever.
	for i := range n {
		p := fmt.Sprint("/", i)
		table.Add(1, p, Data)
		table.Add(1, "/stays", Child)
		table.Changed(p, nil)
	}
	if own := table.watchers[1]; len(own.on) > 64 || own.live != 1 {
		t.Errorf("%d paths for %d watches", len(own.on), own.live)
	}
	table.Drop(1)
	table.Drop(1)
	if w, p, c := table.Counts(); w != 0 || p != 0 || c != 0 || table.recursive != 0 {
		t.Errorf("left are %d, %d, %d", w, p, c)
	}
}

// The table and a set of (watcher, path, mode) say the same.
func TestTableIsTheModel(t *testing.T) {
	type key struct {
		w uint64
		p string
	}
	paths := []string{"/", "/a", "/a/b", "/a/b/c", "/ab", "/b"}
	rapid.Check(t, func(t *rapid.T) {
		table, model := New(), map[key]Mode{}
		hit := func(path string, once, direct Mode, below bool) []uint64 {
			fired := map[uint64]bool{}
			for k, m := range model {
				above := k.p != path && (k.p == "/" || strings.HasPrefix(path, k.p+"/"))
				if k.p == path && m&direct != 0 || below && above && m&Recursive != 0 {
					fired[k.w] = true
				}
				if k.p == path {
					if m &^= once; m == 0 {
						delete(model, k)
					} else {
						model[k] = m
					}
				}
			}
			return slices.Sorted(maps.Keys(fired))
		}
		for range rapid.IntRange(1, 120).Draw(t, "steps") {
			w := rapid.Uint64Range(1, 5).Draw(t, "watcher")
			p := rapid.SampledFrom(paths).Draw(t, "path")
			m := Mode(rapid.SampledFrom([]uint8{1, 2, 4, 8, 15}).Draw(t, "mode"))
			k := key{w, p}
			var got, want []uint64
			switch rapid.IntRange(0, 9).Draw(t, "what") {
			case 0, 1, 2, 3:
				table.Add(w, p, m)
				model[k] |= m
			case 4:
				had := table.Remove(w, p, m)
				if had != model[k]&m {
					t.Fatalf("removed %b, want %b", had, model[k]&m)
				}
				if model[k] &^= m; model[k] == 0 {
					delete(model, k)
				}
			case 5:
				for most := rapid.IntRange(1, 3).Draw(t, "step"); !table.DropSome(w, most); {
				}
				maps.DeleteFunc(model, func(k key, _ Mode) bool { return k.w == w })
			case 6, 7:
				got, want = table.Changed(p, nil), hit(p, Data, Data|Persistent|Recursive, true)
			case 8:
				got, want = table.Deleted(p, nil), hit(p, Data|Child, Any, true)
			default:
				got, want = table.ChildrenChanged(p, nil), hit(p, Child, Child|Persistent, false)
			}
			if !slices.Equal(got, want) {
				t.Fatalf("fired %v, want %v", got, want)
			}
			watchers, watched, total := map[uint64]bool{}, map[string]bool{}, 0
			for k, m := range model {
				watchers[k.w], watched[k.p] = true, true
				for ; m != 0; m &= m - 1 {
					total++
				}
				if table.Has(k.w, k.p) != model[k] {
					t.Fatalf("%v has %b, want %b", k, table.Has(k.w, k.p), model[k])
				}
			}
			a, b, c := table.Counts()
			if a != len(watchers) || b != len(watched) || c != total || table.Empty() != (len(model) == 0) {
				t.Fatalf("counts %d, %d, %d, want %d, %d, %d", a, b, c, len(watchers), len(watched), total)
			}
			n, last := 0, key{}
			table.Each(func(p string, w uint64, m Mode) {
				if n > 0 && (p < last.p || p == last.p && w <= last.w) {
					t.Fatalf("%s %d behind %v", p, w, last)
				}
				if last = (key{w, p}); model[last] != m {
					t.Fatalf("each says %v %b", last, m)
				}
				n++
			})
			if n != len(model) {
				t.Fatalf("each has %d of %d", n, len(model))
			}
		}
	})
}

// TestDropInSteps: a watcher that has very many watches is forgotten in steps, in each so much that it comes to an end soon,
// and nothing of anybody else's; what fires in between is no matter.
func TestDropInSteps(t *testing.T) {
	const paths, step = 1000, 64
	table := New()
	path := func(i int) string { return fmt.Sprintf("/p%d", i) }
	for i := range paths {
		table.Add(1, path(i), Data|Recursive)
		table.Add(2, path(i), Child)
		if i%3 == 0 {
			table.Remove(1, path(i), Any)
			table.Add(1, path(i), Child) // it is on its list twice
		}
	}
	steps := 1
	for ; !table.DropSome(1, step); steps++ {
		before := 0
		table.Each(func(_ string, w uint64, _ Mode) {
			if w == 1 {
				before++
			}
		})
		if most := paths - steps*step/2; before > most || before == 0 {
			t.Fatalf("%d paths after %d steps", before, steps)
		}
		table.Deleted(path(7*steps), nil)
	}
	if steps < paths/step {
		t.Errorf("%d steps", steps)
	}
	watchers, watched, total := table.Counts()
	if fired := steps - 1; watchers != 1 || watched != paths-fired || total != paths-fired || table.recursive != 0 {
		t.Errorf("%d watchers, %d paths, %d watches, %d recursive", watchers, watched, total, table.recursive)
	}
	if !table.DropSome(1, step) || len(table.left) != 1 {
		t.Errorf("places left: %v", table.left)
	}
	table.Add(3, "/x", Data)
	if got := table.Changed("/x", nil); !slices.Equal(got, []uint64{3}) {
		t.Errorf("%v", got)
	}
}

func BenchmarkFireNothing(b *testing.B) {
	t := New()
	t.Add(1, "/elsewhere", Data)
	var dst []uint64
	b.ReportAllocs()
	for b.Loop() {
		dst = t.Changed("/some/other/path", dst[:0])
	}
}

// TestMemory: a watch on a path that many watch costs little more than its two references, one
// on a path of its own not much more than the path and its place in a map.
func TestMemory(t *testing.T) {
	for _, tc := range []struct {
		name            string
		watchers, paths int // each watches all of them, or has so many of its own
		own             bool
		most            uint64
	}{
		{"all on one path", 20000, 1, false, 150}, // the watchers themselves, that watch no more
		{"the same paths", 300, 200, false, 16},
		{"paths of their own", 30, 1000, true, 180},
	} {
		t.Run(tc.name, func(t *testing.T) {
			var before, after runtime.MemStats
			runtime.GC()
			runtime.ReadMemStats(&before)
			table := New()
			for w := range tc.watchers {
				for p := range tc.paths {
					path := fmt.Sprintf("/services/%08d", p)
					if tc.own {
						path = fmt.Sprintf("/services/%08d", w*tc.paths+p)
					}
					table.Add(uint64(w), path, Data)
				}
			}
			runtime.GC()
			runtime.ReadMemStats(&after)
			each := (after.HeapAlloc - before.HeapAlloc) / uint64(tc.watchers*tc.paths)
			t.Logf("%d bytes", each)
			if each > tc.most {
				t.Errorf("%d bytes each, want %d at most", each, tc.most)
			}
			runtime.KeepAlive(table)
		})
	}
}
