package storagetest

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/zkcore/zkcore/plugins/storage"
)

// hung is when a case gives up on a store that doesn't go on. No case measures
// time otherwise.
var hung = time.Minute

var cases = []testCase{
	{"EmptyStore", testEmptyStore},
	{"CommitIsSeenByLaterViews", testCommit},
	{"CommitKeepsNothingOfTheBatch", testMemory},
	{"RefusedBatchChangesNothing", testRefused},
	{"OpsTakeEffectInOrder", testOrder},
	{"NilAndEmptyDataDiffer", testNil},
	{"PutHeadKeepsData", testPutHead},
	{"PutReplacesByAnyLength", testLengths},
	{"DeleteOfNothingIsNoError", testDeleteNothing},
	{"ChildrenAreInByteOrder", testChildrenOrder},
	{"ChildrenStopsWhenTold", testStops},
	{"ManyChildren", testManyChildren},
	{"WalkGivesParentsFirst", testWalk},
	{"DeepTree", testDeep},
	{"LongNamesAndHeads", testLong},
	{"LargeData", testLargeData},
	{"TablesAreOrderedAndApart", testTables},
	{"LargeTable", testLargeTable},
	{"AppliedFollowsCommit", testApplied},
	{"ViewStaysWhatItIs", testViewStable},
	{"ViewKeepsWhatWasDeleted", testViewDelete},
	{"ViewSkipsWhatCameLater", testLater},
	{"SlicesStayValidUntilRelease", testSlices},
	{"ViewsAreIndependent", testViews},
	{"ViewStaysOverReset", testReset},
	{"FunctionMayUseTheView", testNested},
	{"WalkDoesNotHoldUpCommits", testWalkCommit},
	{"ReadersBesideACommitter", testReaders},
	{"OneViewBesideACommitter", testSharedView},
	{"FlushReturns", testFlush},
	{"ClosedStoreSaysSo", testClosed},
}

var durableCases = []testCase{
	{"FlushedSurvives", testFlushed},
	{"WholeBatchesSurvive", testWholeBatches},
}

func testEmptyStore(t *testing.T, f Factory) {
	r := newRig(t, f)
	r.check()
	v := r.view()
	for _, path := range []string{"/", "/a", "/a/b"} {
		if _, ok, err := v.Get(path); ok || err != nil {
			t.Errorf("Get(%q) is %v, %v", path, ok, err)
		}
		if names := childrenOf(t, v, path); len(names) > 0 {
			t.Errorf("Children(%q) are %q", path, names)
		}
	}
	if _, ok, err := v.TableGet("none", "k"); ok || err != nil {
		t.Errorf("TableGet is %v, %v", ok, err)
	}
	newModel().checkScan(t, v, "none", "")
	if a, d := r.s.Applied(), r.s.Durable(); a != 0 || d != 0 {
		t.Errorf("Applied is %d and Durable %d", a, d)
	}
}

func testCommit(t *testing.T, f Factory) {
	r := newRig(t, f)
	for i := range 50 {
		r.commit(func(b *storage.Batch) {
			if i == 0 {
				b.Put("/", []byte("root"), nil)
			}
			b.Put(fmt.Sprintf("/n%d", i), head(i), data(i))
			b.TablePut("t", fmt.Sprint(i), data(i))
			if i > 10 {
				b.Delete(fmt.Sprintf("/n%d", i-10))
				b.TableDelete("t", fmt.Sprint(i-10))
				b.Put(fmt.Sprintf("/n%d", i-5), head(i), data(i))
			}
		})
		r.check()
	}
}

// The batch's memory is overwritten after each commit: here with every kind of
// op, and all of it is read again much later.
func testMemory(t *testing.T, f Factory) {
	r := newRig(t, f)
	r.commit(func(b *storage.Batch) {
		b.Put("/", head(0), data(0))
		b.Put("/poisoned", head(1), data(1))
		b.Put("/poisoned/child", head(2), data(2))
		b.TablePut("a table", "a key", []byte("a value"))
	})
	r.commit(func(b *storage.Batch) {
		b.PutHead("/poisoned", head(3))
		b.Put("/poisoned/child", head(4), data(4))
		b.TablePut("a table", "a key", []byte("another value"))
	})
	for range 3 {
		r.commit(func(b *storage.Batch) { b.Put("/other", head(5), data(5)) })
	}
	r.check()
}

func testRefused(t *testing.T, f Factory) {
	r := newRig(t, f)
	r.commit(func(b *storage.Batch) {
		b.Put("/", head(0), nil)
		b.Put("/a", head(1), []byte("data"))
		b.Put("/a/b", head(1), []byte("data"))
		b.TablePut("t", "k", []byte("v"))
	})
	// Each bad op stands behind good ones, which must not be seen either.
	before := func(b *storage.Batch) {
		b.Put("/new", head(2), data(2))
		b.Put("/a", head(2), data(2))
		b.PutHead("/", head(2))
		b.TablePut("t", "k", []byte("w"))
		b.TablePut("new", "k", []byte("v"))
		b.Delete("/a/b")
	}
	for _, held := range []bool{false, true} {
		if held {
			defer r.s.View().Release()
		}
		r.refused("the head of no record", func(b *storage.Batch) { before(b); b.PutHead("/none", head(2)) })
		r.check()
		r.refused("the head of a record that it deletes", func(b *storage.Batch) { before(b); b.PutHead("/a/b", head(2)) })
		r.check()
		r.refused("a head of another length", func(b *storage.Batch) { before(b); b.PutHead("/a", head(2)[1:]) })
		r.check()
		r.refused("a head of another length than it put", func(b *storage.Batch) {
			before(b)
			b.Put("/new", []byte("short"), nil)
			b.PutHead("/new", head(2))
		})
		r.check()
		r.refused("an unknown op", func(b *storage.Batch) { before(b); b.Ops = append(b.Ops, storage.Op{Kind: 99, Path: "/a"}) })
		r.check()
		r.refused("an op of no kind", func(b *storage.Batch) { before(b); b.Ops = append(b.Ops, storage.Op{Path: "/a"}) })
		r.check()
	}
	r.commit(func(b *storage.Batch) { before(b) })
	r.check()
}

func testOrder(t *testing.T, f Factory) {
	r := newRig(t, f)
	for _, held := range []bool{false, true} {
		if held {
			h := r.view()
			defer func() { h.m.check(t, h.View) }()
		}
		r.commit(func(b *storage.Batch) {
			b.Put("/", head(0), nil)
			b.Put("/twice", head(1), data(1))
			b.PutHead("/twice", head(2))
			b.Put("/twice", head(3), []byte("the last data, which is longer than any before"))
			b.PutHead("/twice", head(4))
			b.Put("/gone", head(1), nil)
			b.Put("/gone/child", head(1), nil)
			b.Delete("/gone/child")
			b.Delete("/gone")
			b.Put("/back", head(1), data(1))
			b.Delete("/back")
			b.Put("/back", []byte("another head"), data(2))
			b.PutHead("/back", []byte("ANOTHER head"))
			b.TablePut("t", "twice", []byte("1"))
			b.TablePut("t", "twice", []byte("the second"))
			b.TablePut("t", "gone", []byte("1"))
			b.TableDelete("t", "gone")
			b.TableDelete("t", "back")
			b.TablePut("t", "back", []byte("1"))
		})
		r.check()
		r.commit(func(b *storage.Batch) {
			b.Delete("/back")
			b.Put("/back", head(9), data(9))
			b.Put("/back/child", head(9), data(9))
			b.Delete("/twice")
			b.PutHead("/back", head(8))
			b.PutHead("/", head(8))
		})
		r.check()
		r.commit(func(b *storage.Batch) { b.Delete("/back/child"); b.Delete("/back") })
		r.check()
	}
}

func testNil(t *testing.T, f Factory) {
	r := newRig(t, f)
	r.commit(func(b *storage.Batch) {
		b.Put("/", head(0), nil)
		b.Put("/nil", head(0), nil)
		b.Put("/empty", head(0), []byte{})
		b.Put("/both", nil, nil)
	})
	r.check()
	r.commit(func(b *storage.Batch) { // heads change, and the two stay apart
		b.PutHead("/nil", head(1))
		b.PutHead("/empty", head(1))
	})
	r.check()
	r.commit(func(b *storage.Batch) { // each becomes the other, then something
		b.Put("/nil", head(1), []byte{})
		b.Put("/empty", head(1), nil)
	})
	r.check()
	r.commit(func(b *storage.Batch) {
		b.Put("/nil", head(1), []byte{0})
		b.Put("/empty", head(1), []byte("x"))
		b.Put("/both", []byte{}, []byte{})
		b.TablePut("t", "nil", nil)
		b.TablePut("t", "empty", []byte{})
		b.TablePut("t", "", []byte("the empty key"))
	})
	r.check()
}

func testPutHead(t *testing.T, f Factory) {
	r := newRig(t, f)
	big := fill(rand.New(rand.NewPCG(1, 1)), 100_000)
	r.commit(func(b *storage.Batch) {
		b.Put("/", head(0), []byte("root's data"))
		b.Put("/a", head(0), data(0))
		b.Put("/big", head(0), big)
		b.Put("/short", []byte("h"), nil)
		b.Put("/none", nil, []byte("no head at all"))
	})
	for i := range 20 {
		var held *heldView
		if i%2 == 0 {
			held = r.view()
		}
		r.commit(func(b *storage.Batch) {
			for _, path := range []string{"/", "/a", "/big"} {
				b.PutHead(path, head(i))
			}
			b.PutHead("/short", []byte{byte(i)})
			b.PutHead("/none", nil)
		})
		if held != nil {
			held.m.check(t, held.View)
			held.release()
		}
		r.check()
	}
}

func testLengths(t *testing.T, f Factory) {
	r := newRig(t, f)
	r.commit(func(b *storage.Batch) { b.Put("/", head(0), nil); b.Put("/a", nil, nil) })
	rnd := rand.New(rand.NewPCG(2, 2))
	for _, n := range []int{0, 1, 7, 8, 9, 100, 101, 99, 4096, 3000, 65535, 65536, 65537, 12, 1 << 20, 0, 300} {
		r.commit(func(b *storage.Batch) { b.Put("/a", fill(rnd, n%200), fill(rnd, n)) })
		r.check()
		r.commit(func(b *storage.Batch) { b.TablePut("t", "k", fill(rnd, n)) })
		r.check()
	}
}

func testDeleteNothing(t *testing.T, f Factory) {
	r := newRig(t, f)
	r.commit(func(b *storage.Batch) { b.Delete("/none"); b.TableDelete("none", "k") })
	r.check()
	r.commit(func(b *storage.Batch) {
		b.Put("/", head(0), nil)
		b.Put("/a", head(0), nil)
		b.TablePut("t", "k", nil)
	})
	r.commit(func(b *storage.Batch) {
		b.Delete("/b")
		b.Delete("/a/b")
		b.Delete("/a/b/c")
		b.TableDelete("t", "l")
		b.TableDelete("u", "k")
	})
	r.check()
	r.commit(func(b *storage.Batch) {
		b.Delete("/a")
		b.Delete("/a")
		b.TableDelete("t", "k")
		b.TableDelete("t", "k")
	})
	r.check()
}

// Compared as whole paths, "/a!" and "/a-" stand between "/a" and "/a/x", since
// a slash is a byte among others.
func testChildrenOrder(t *testing.T, f Factory) {
	r := newRig(t, f)
	r.commit(func(b *storage.Batch) {
		b.Put("/", head(0), nil)
		for _, i := range rand.New(rand.NewPCG(3, 3)).Perm(len(segments)) {
			b.Put("/"+segments[i], head(i), nil)
			b.Put("/"+segments[i]+"/x", head(i), nil)
			b.Put("/"+segments[i]+"/x/y", head(i), nil)
		}
		for _, name := range []string{"\x01", "\xff", "\xff\xff", "a\xff", ".", "..", "aaa", "ab"} {
			b.Put("/"+name, head(1), nil)
		}
		// The same names where nodes of other levels are their neighbours.
		b.Put("/a/x/a", head(1), nil)
		b.Put("/a/x!", head(1), nil)
		b.Put("/a/x0", head(1), nil)
	})
	r.check()
	r.commit(func(b *storage.Batch) {
		b.Delete("/a!/x/y")
		b.Delete("/a!/x")
		b.Delete("/a!")
		b.Put("/a,", nil, nil)
	})
	r.check()
}

func testStops(t *testing.T, f Factory) {
	r := newRig(t, f)
	r.commit(func(b *storage.Batch) {
		b.Put("/", head(0), nil)
		for i := range 1000 {
			b.Put(fmt.Sprintf("/%04d", i), head(i), nil)
			b.TablePut("t", fmt.Sprintf("%04d", i), nil)
		}
	})
	v := r.view()
	for _, n := range []int{1, 2, 63, 64, 65, 500, 999} {
		for what, iterate := range map[string]func(fn func() bool) error{
			"Children":  func(fn func() bool) error { return v.Children("/", func(string) bool { return fn() }) },
			"Walk":      func(fn func() bool) error { return v.Walk(func(string, storage.Record) bool { return fn() }) },
			"TableScan": func(fn func() bool) error { return v.TableScan("t", "", func(string, []byte) bool { return fn() }) },
		} {
			calls := 0
			if err := iterate(func() bool { calls++; return calls < n }); err != nil {
				t.Errorf("%s, told to stop: %v", what, err)
			}
			if calls != n {
				t.Errorf("%s called %d times, told to stop at %d", what, calls, n)
			}
		}
	}
}

func testManyChildren(t *testing.T, f Factory) {
	const up, mixed = 100_000 / slow, 20_000 / slow
	r := newRig(t, f)
	order := rand.New(rand.NewPCG(4, 4)).Perm(mixed)
	r.commit(func(b *storage.Batch) {
		b.Put("/", head(0), nil)
		b.Put("/up", head(0), nil)
		b.Put("/mixed", head(0), nil)
	})
	for from := 0; from < up; from += 1000 {
		r.commit(func(b *storage.Batch) {
			for i := from; i < from+1000; i++ {
				b.Put(fmt.Sprintf("/up/%010d", i), nil, nil)
				if i < mixed {
					b.Put(fmt.Sprintf("/mixed/%x", order[i]), nil, nil)
				}
			}
		})
	}
	old := r.view()
	for from := 0; from < up; from += 1000 { // every third stays
		r.commit(func(b *storage.Batch) {
			for i := from; i < from+1000; i++ {
				if i%3 > 0 {
					b.Delete(fmt.Sprintf("/up/%010d", i))
					if i < mixed {
						b.Delete(fmt.Sprintf("/mixed/%x", i))
					}
				}
			}
		})
	}
	r.check()
	old.m.check(t, old.View)
	old.release()
	r.commit(func(b *storage.Batch) {
		for _, name := range childrenOf(t, r.view(), "/up") {
			b.Delete("/up/" + name)
		}
		b.Delete("/up")
	})
	r.check()
}

func testWalk(t *testing.T, f Factory) {
	r := newRig(t, f)
	rnd := rand.New(rand.NewPCG(5, 5))
	paths := []string{"/"}
	r.commit(func(b *storage.Batch) {
		b.Put("/", head(0), nil)
		for i := range 5000 {
			p := child(paths[rnd.IntN(len(paths))], fmt.Sprint(segments[rnd.IntN(len(segments))], i))
			b.Put(p, head(i), data(i))
			paths = append(paths, p)
		}
	})
	r.check()
	var sub []string // what is below a name comes whole, and nothing else does
	for _, p := range paths {
		if strings.HasPrefix(p, paths[1]) {
			sub = append(sub, p)
		}
	}
	slices.Sort(sub)
	r.commit(func(b *storage.Batch) {
		for _, p := range slices.Backward(sub) {
			b.Delete(p)
		}
	})
	r.check()
}

func testDeep(t *testing.T, f Factory) {
	const depth = 2000
	r := newRig(t, f)
	r.commit(func(b *storage.Batch) {
		b.Put("/", head(0), nil)
		path := ""
		for i := range depth {
			path += "/d"
			b.Put(path, head(i), nil)
			b.Put(path+"!", head(i), data(i))
		}
	})
	r.check()
	old := r.view()
	r.commit(func(b *storage.Batch) {
		for i := depth; i > 1; i-- {
			b.Delete(strings.Repeat("/d", i) + "!")
			b.Delete(strings.Repeat("/d", i))
		}
	})
	r.check()
	old.m.check(t, old.View)
}

func testLong(t *testing.T, f Factory) {
	r := newRig(t, f)
	rnd := rand.New(rand.NewPCG(6, 6))
	r.commit(func(b *storage.Batch) {
		b.Put("/", head(0), nil)
		for _, n := range []int{250, 255, 256, 257, 4095, 65_534, 65_535, 65_536, 300_000} {
			name := strings.Repeat("n", n)
			b.Put("/"+name, fill(rnd, n), data(n))
			b.Put("/"+name+"/x", head(n), data(n))
			b.TablePut("t", name, data(n))
		}
	})
	r.check()
	r.commit(func(b *storage.Batch) {
		b.PutHead("/"+strings.Repeat("n", 300_000), fill(rnd, 300_000))
		b.Delete("/" + strings.Repeat("n", 65_535) + "/x")
		b.Delete("/" + strings.Repeat("n", 65_535))
		b.TableDelete("t", strings.Repeat("n", 65_536))
	})
	r.check()
}

func testLargeData(t *testing.T, f Factory) {
	r := newRig(t, f)
	rnd := rand.New(rand.NewPCG(7, 7))
	r.commit(func(b *storage.Batch) {
		b.Put("/", head(0), nil)
		for i := range 10 {
			b.Put(fmt.Sprintf("/%d", i), head(i), fill(rnd, 1<<20-i))
		}
	})
	r.check()
	old := r.view()
	for i := range 10 {
		r.commit(func(b *storage.Batch) {
			b.Put(fmt.Sprintf("/%d", i), head(i), fill(rnd, 1<<20+i*10_000))
			b.PutHead(fmt.Sprintf("/%d", i), head(i+1))
		})
	}
	r.check()
	old.m.check(t, old.View)
	old.release()
	r.commit(func(b *storage.Batch) {
		for i := range 9 {
			b.Delete(fmt.Sprintf("/%d", i))
		}
		b.Put("/9", head(9), fill(rnd, 9<<20))
	})
	r.check()
}

func testTables(t *testing.T, f Factory) {
	r := newRig(t, f)
	keys := []string{"", "\x00", "\x00\x00", "/", "/a", "/a/b", "a", "ab", "abc", "ab\xff", "ac", "b", "\xff", "\xff\xff"}
	r.commit(func(b *storage.Batch) {
		b.Put("/", head(0), nil)
		b.Put("/a", head(0), []byte("a record, not an entry"))
		for _, i := range rand.New(rand.NewPCG(8, 8)).Perm(len(keys)) {
			b.TablePut("t", keys[i], data(i))
			b.TablePut("tt", keys[i], data(i+1))
		}
		b.TablePut("", "a", []byte("a table without a name"))
	})
	r.check()
	v := r.view()
	for _, prefix := range append(keys, "0", "aa", "abcd", "\xff\xff\xff") {
		r.m.checkScan(t, v, "t", prefix)
		r.m.checkScan(t, v, "tt", prefix)
		r.m.checkScan(t, v, "none", prefix)
	}
	r.commit(func(b *storage.Batch) {
		b.TablePut("t", "ab", []byte("new"))
		b.TableDelete("t", "abc")
		for _, key := range keys {
			b.TableDelete("tt", key)
		}
		b.Delete("/a")
	})
	r.check()
	r.m.checkScan(t, v, "none", "")
	v.m.check(t, v.View)
}

func testLargeTable(t *testing.T, f Factory) {
	const n = 50_000 / slow
	r := newRig(t, f)
	order := rand.New(rand.NewPCG(9, 9)).Perm(n)
	for from := 0; from < n; from += 1000 {
		r.commit(func(b *storage.Batch) {
			for _, i := range order[from : from+1000] {
				b.TablePut("t", string(binary.BigEndian.AppendUint64(nil, uint64(i))), data(i))
			}
		})
	}
	r.check()
	old := r.view()
	for from := 0; from < n; from += 1000 {
		r.commit(func(b *storage.Batch) {
			for i := from; i < from+900; i++ {
				b.TableDelete("t", string(binary.BigEndian.AppendUint64(nil, uint64(i))))
			}
			b.TablePut("t", string(binary.BigEndian.AppendUint64(nil, uint64(from+900))), []byte("changed"))
		})
	}
	r.check()
	r.m.checkScan(t, r.view(), "t", "\x00\x00\x00\x00\x00\x00\x05")
	old.m.check(t, old.View)
}

func testApplied(t *testing.T, f Factory) {
	r := newRig(t, f)
	for _, zxid := range []int64{1, 2, 1 << 32, 1<<32 + 1, 5 << 32, 1<<63 - 1} {
		held := r.view()
		r.commit(func(b *storage.Batch) {
			b.Zxid = zxid
			b.Put("/", head(int(zxid)), nil)
		})
		if got := r.s.Applied(); got != zxid {
			t.Errorf("Applied is %#x, want %#x", got, zxid)
		}
		held.m.check(t, held.View)
		r.check()
		if d := r.s.Durable(); d < 0 || d > zxid {
			t.Errorf("Durable is %#x, Applied %#x", d, zxid)
		}
	}
	r.refused("the head of no record", func(b *storage.Batch) { b.PutHead("/none", nil) })
	if got := r.s.Applied(); got != 1<<63-1 {
		t.Errorf("Applied is %#x after a batch was refused", got)
	}
	if err := r.s.Reset(); err != nil {
		t.Fatal(err)
	}
	r.m = newModel()
	r.check()
	r.commit(func(b *storage.Batch) {}) // an empty batch counts as well
	if got := r.s.Applied(); got != 1 {
		t.Errorf("Applied is %d, want 1", got)
	}
	r.check()
}

// build is a small tree for the cases about views.
func build(b *storage.Batch) {
	b.Put("/", head(0), nil)
	for i := range 300 {
		b.Put(fmt.Sprintf("/%03d", i), head(i), data(i))
		b.TablePut("t", fmt.Sprintf("%03d", i), data(i))
	}
	for i := range 30 {
		b.Put(fmt.Sprintf("/007/%03d", i), head(i), data(i))
	}
}

// change changes something of every kind in that tree, another part at each step.
func change(b *storage.Batch, step int) {
	for i := step % 300; i < 300; i += 7 {
		p := fmt.Sprintf("/%03d", i)
		switch {
		case step%2 == 0:
			b.PutHead(p, head(i+step))
		case i%3 == 0:
			b.Put(p, head(i+step), data(i+step))
		default:
			b.Put(p, head(i), fill(rand.New(rand.NewPCG(1, uint64(i))), i*step%3000))
		}
		b.TablePut("t", fmt.Sprintf("%03d", i), data(i+step))
	}
	b.Put(fmt.Sprintf("/new%d", step), head(step), data(step))
	b.Put(fmt.Sprintf("/new%d/child", step), head(step), data(step))
	b.TablePut("t", fmt.Sprintf("new%d", step), data(step))
	if step > 3 {
		b.Delete(fmt.Sprintf("/new%d/child", step-3))
		b.Delete(fmt.Sprintf("/new%d", step-3))
		b.TableDelete("t", fmt.Sprintf("new%d", step-3))
	}
}

func testViewStable(t *testing.T, f Factory) {
	r := newRig(t, f)
	r.commit(build)
	old := r.view()
	for step := range 20 {
		r.commit(func(b *storage.Batch) { change(b, step) })
		old.m.check(t, old.View)
		r.check()
	}
	old.release()
	r.check()
	for step := range 10 {
		r.commit(func(b *storage.Batch) { change(b, 20+step) })
		r.check()
	}
}

func testViewDelete(t *testing.T, f Factory) {
	r := newRig(t, f)
	r.commit(build)
	full := r.view()
	r.commit(func(b *storage.Batch) {
		for _, path := range []string{"/007/003", "/007/000", "/007/029", "/100"} {
			b.Delete(path)
			b.TableDelete("t", path[1:])
		}
	})
	fewer := r.view()
	r.commit(func(b *storage.Batch) {
		for i := range 30 {
			b.Delete(fmt.Sprintf("/007/%03d", i))
		}
		for i := range 300 {
			b.Delete(fmt.Sprintf("/%03d", i))
			b.TableDelete("t", fmt.Sprintf("%03d", i))
		}
		b.Delete("/")
	})
	none := r.view()
	r.commit(build)
	r.commit(func(b *storage.Batch) { b.Delete("/007/003"); b.Put("/007/003", []byte("back again"), nil) })
	for _, v := range []*heldView{full, fewer, none} {
		v.m.check(t, v.View)
	}
	r.check()
	fewer.release()
	full.m.check(t, full.View)
	none.m.check(t, none.View)
	full.release()
	none.m.check(t, none.View)
	r.check()
	none.release()
	r.check()
}

// Around the few names that a view shows, thousands come and go, before the
// view is read and while it is.
func testLater(t *testing.T, f Factory) {
	r := newRig(t, f)
	r.commit(func(b *storage.Batch) {
		b.Put("/", head(0), nil)
		for i := range 200 {
			b.Put(fmt.Sprintf("/m%03d", i), head(i), data(i))
			b.TablePut("t", fmt.Sprintf("m%03d", i), data(i))
		}
	})
	old := r.view()
	later := func(n int) string { // in front of, behind and between the names
		return []string{"a", "z", fmt.Sprintf("m%03d-", n%200)}[n%3] + fmt.Sprint(n)
	}
	const many = 9000
	r.commit(func(b *storage.Batch) {
		for n := range many {
			b.Put("/"+later(n), nil, nil)
			b.TablePut("t", later(n), nil)
		}
	})
	old.m.check(t, old.View)
	full := r.view()
	r.commit(func(b *storage.Batch) {
		for n := range many {
			if n%10 > 0 {
				b.Delete("/" + later(n))
				b.TableDelete("t", later(n))
			}
		}
	})
	old.m.check(t, old.View)
	r.check()

	step := 0
	disturb := func() { // what one step puts the next one deletes
		r.commit(func(b *storage.Batch) {
			for n := many + step/2*50; n < many+step/2*50+50; n++ {
				if step%2 == 0 {
					b.Put("/"+later(n), nil, nil)
					b.TablePut("t", later(n), nil)
				} else {
					b.Delete("/" + later(n))
					b.TableDelete("t", later(n))
				}
			}
		})
		if step++; step == 150 {
			full.release()
		}
	}
	for _, v := range []*heldView{old, r.view()} {
		var names, keys []string
		walked := 0
		if err := v.Children("/", func(name string) bool {
			names = append(names, strings.Clone(name))
			if len(names)%7 == 0 {
				disturb()
			}
			return true
		}); err != nil || !slices.Equal(names, v.m.children()["/"]) {
			t.Errorf("Children gave %d names, %v; want %d", len(names), err, len(v.m.records)-1)
		}
		if err := v.TableScan("t", "m", func(key string, _ []byte) bool {
			keys = append(keys, strings.Clone(key))
			if len(keys)%7 == 0 {
				disturb()
			}
			return true
		}); err != nil {
			t.Errorf("TableScan: %v", err)
		}
		names = slices.DeleteFunc(names, func(name string) bool { return name[0] != 'm' })
		if !slices.Equal(keys, names) {
			t.Errorf("TableScan gave %d entries, want %d", len(keys), len(names))
		}
		seen := map[string]bool{}
		if err := v.Walk(func(path string, _ storage.Record) bool {
			seen[strings.Clone(path)] = true
			if walked++; walked%7 == 0 {
				disturb()
			}
			return true
		}); err != nil || walked != len(v.m.records) || len(seen) != walked {
			t.Errorf("Walk gave %d records, %d paths, %v; want %d", walked, len(seen), err, len(v.m.records))
		}
		v.m.check(t, v.View)
	}
	r.check()
}

// What a view hands out is read again after the store has had every reason to
// write over it.
func testSlices(t *testing.T, f Factory) {
	r := newRig(t, f)
	r.commit(build)
	old := r.view()
	recs := map[string]storage.Record{}
	for path := range old.m.records {
		recs[path], _, _ = old.Get(path)
	}
	values := map[string][]byte{}
	for key := range old.m.tables["t"] {
		values[key], _, _ = old.TableGet("t", key)
	}
	for step := range 30 {
		later := r.view()
		r.commit(func(b *storage.Batch) { change(b, step) })
		later.release()
		r.commit(func(b *storage.Batch) { change(b, step+1000) })
	}
	for path, rec := range recs {
		if err := sameRecord(rec, old.m.records[path]); err != nil {
			t.Errorf("what Get(%q) had given has changed: %v", path, err)
		}
	}
	for key, value := range values {
		if !bytes.Equal(value, old.m.tables["t"][key]) {
			t.Errorf("what TableGet(%q) had given has changed", key)
		}
	}
}

func testViews(t *testing.T, f Factory) {
	r := newRig(t, f)
	r.commit(build)
	var held []*heldView
	rnd := rand.New(rand.NewPCG(10, 10))
	for step := range 60 {
		held = append(held, r.view(), r.view())
		r.commit(func(b *storage.Batch) { change(b, step) })
		if len(held) > 12 {
			for range 3 { // in any order
				i := rnd.IntN(len(held))
				held[i].m.check(t, held[i].View)
				held[i].release()
				held = slices.Delete(held, i, i+1)
			}
		}
	}
	for _, h := range held {
		h.m.check(t, h.View)
	}
	for _, i := range rnd.Perm(len(held)) {
		held[i].release()
	}
	r.check()
}

func testReset(t *testing.T, f Factory) {
	r := newRig(t, f)
	r.commit(build)
	first := r.view()
	rec, _, _ := first.Get("/007")
	r.commit(func(b *storage.Batch) { change(b, 1) })
	second := r.view()
	reset := func() {
		t.Helper()
		if err := r.s.Reset(); err != nil {
			t.Fatalf("Reset: %v", err)
		}
		r.m = newModel()
		r.check()
	}
	reset()
	first.m.check(t, first.View)
	r.commit(func(b *storage.Batch) { build(b); change(b, 2) })
	third := r.view()
	reset()
	reset()
	r.commit(func(b *storage.Batch) { b.Put("/", head(5), nil); b.TablePut("t", "only", nil) })
	for _, h := range []*heldView{first, second, third} {
		h.m.check(t, h.View)
	}
	if err := sameRecord(rec, first.m.records["/007"]); err != nil {
		t.Errorf("what Get had given before Reset has changed: %v", err)
	}
	first.release()
	third.release()
	second.m.check(t, second.View)
	second.release()
	r.check()
}

func testNested(t *testing.T, f Factory) {
	r := newRig(t, f)
	r.commit(build)
	v := r.view()
	n := 0
	err := v.Walk(func(path string, _ storage.Record) bool {
		path = strings.Clone(path)
		if _, ok, err := v.Get(path); !ok || err != nil {
			t.Errorf("Get(%q) in Walk: %v, %v", path, ok, err)
		}
		for _, name := range childrenOf(t, v, path) {
			n++
			if _, ok, err := v.Get(child(path, name)); !ok || err != nil {
				t.Errorf("Get of %q under %q in Walk: %v, %v", name, path, ok, err)
			}
		}
		return true
	})
	if err != nil || n != len(v.m.records)-1 {
		t.Errorf("Walk and Children saw %d children, %v; want %d", n, err, len(v.m.records)-1)
	}
	n = 0
	err = v.TableScan("t", "", func(key string, value []byte) bool {
		got, ok, err := v.TableGet("t", strings.Clone(key))
		if !ok || err != nil || !bytes.Equal(got, value) {
			t.Errorf("TableGet(%q) in TableScan: %v, %v", key, ok, err)
		}
		n++
		return true
	})
	if err != nil || n != len(v.m.tables["t"]) {
		t.Errorf("TableScan saw %d entries, %v; want %d", n, err, len(v.m.tables["t"]))
	}
	err = v.Children("/", func(name string) bool {
		path := "/" + name // a copy
		if got := childrenOf(t, v, path); len(got) != len(v.m.children()[path]) {
			t.Errorf("Children(%q) in Children: %q", path, got)
		}
		return name < "010"
	})
	if err != nil {
		t.Error(err)
	}
}

// A snapshot is a Walk that lasts: each function below doesn't return before a
// commit that began after it has.
func testWalkCommit(t *testing.T, f Factory) {
	r := newRig(t, f)
	r.commit(build)
	old := r.view()
	step, calls := 0, 0
	commit := func() bool {
		if calls++; calls%slow != 0 {
			return true
		}
		step++
		done := make(chan struct{})
		go func() {
			defer close(done)
			b := &storage.Batch{Zxid: r.m.applied + 1}
			change(b, step)
			if err := commitPoisoned(r.s, b); err != nil {
				t.Errorf("Commit: %v", err)
			}
			r.m.commit(b)
			r.s.View().Release()
		}()
		select {
		case <-done:
			return true
		case <-time.After(hung):
			t.Error("a commit waits for the function that a view calls")
			return false
		}
	}
	var walked, scanned, listed int
	if err := old.Walk(func(path string, rec storage.Record) bool {
		if !commit() {
			return false
		}
		if err := sameRecord(rec, old.m.records[path]); err != nil {
			t.Errorf("Walk at %q: %v", path, err)
		}
		walked++
		return true
	}); err != nil || walked != len(old.m.records) {
		t.Fatalf("Walk gave %d records, %v; want %d", walked, err, len(old.m.records))
	}
	if err := old.TableScan("t", "", func(key string, value []byte) bool {
		if !commit() {
			return false
		}
		if !bytes.Equal(value, old.m.tables["t"][key]) {
			t.Errorf("TableScan at %q: %.40q", key, value)
		}
		scanned++
		return true
	}); err != nil || scanned != len(old.m.tables["t"]) {
		t.Fatalf("TableScan gave %d entries, %v; want %d", scanned, err, len(old.m.tables["t"]))
	}
	names := old.m.children()["/"]
	if err := old.Children("/", func(name string) bool {
		if !commit() {
			return false
		}
		if listed < len(names) && name != names[listed] {
			t.Errorf("Children gave %q, want %q", name, names[listed])
		}
		listed++
		return true
	}); err != nil || listed != len(names) {
		t.Fatalf("Children gave %d names, %v; want %d", listed, err, len(names))
	}
	old.m.check(t, old.View)
	r.check()
}

// In each state that the committer makes, the head of "/" counts its children,
// all data is the state's number, and so is the table's entry.
func testReaders(t *testing.T, f Factory) {
	r := newRig(t, f)
	const names = 40
	state := func(b *storage.Batch, n int, has *[names]bool) {
		value := binary.BigEndian.AppendUint64(nil, uint64(n))
		count := 0
		b.Put("/", head(n), nil)
		for i := range has {
			p := fmt.Sprintf("/%02d", i)
			if (n+i)%5 == 0 {
				has[i] = !has[i]
				if !has[i] {
					b.Delete(p)
				}
			}
			if has[i] {
				b.Put(p, head(n), append(value, make([]byte, n*i%500)...))
				count++
			}
		}
		b.Put("/", head(n), append(value, byte(count)))
		b.PutHead("/", head(count))
		b.TablePut("t", "state", value)
	}
	verify := func(v storage.View) error {
		value, ok, err := v.TableGet("t", "state")
		if err != nil || !ok {
			return fmt.Errorf("no state in the table: %v, %w", ok, err)
		}
		root, _, err := v.Get("/")
		if err != nil || !bytes.HasPrefix(root.Data, value) {
			return fmt.Errorf("the root is of state %x, the table of %x: %w", root.Data, value, err)
		}
		count := 0
		var bad error
		err = v.Children("/", func(name string) bool {
			count++
			rec, ok, err := v.Get("/" + name)
			if err != nil || !ok || !bytes.HasPrefix(rec.Data, value) {
				bad = fmt.Errorf("child %s: %v, %.8x, want %x: %w", name, ok, rec.Data, value, err)
			}
			return bad == nil
		})
		walked := 0
		err = errors.Join(err, v.Walk(func(string, storage.Record) bool { walked++; return true }))
		if want := int(root.Data[8]); count != want || v.Len() != want+1 || walked != want+1 {
			bad = errors.Join(bad, fmt.Errorf("%d children, Len %d, walked %d, want %d children", count, v.Len(), walked, want))
		}
		return errors.Join(bad, err)
	}

	var has [names]bool
	r.commit(func(b *storage.Batch) { state(b, 1, &has) })
	var stop atomic.Bool
	var wg sync.WaitGroup
	var views atomic.Int64
	for range 4 {
		wg.Go(func() {
			var last int64
			for !stop.Load() && !t.Failed() {
				v := r.s.View()
				for range 3 {
					if err := verify(v); err != nil {
						t.Error(err)
					}
				}
				if v.Applied() < last {
					t.Errorf("a view is at %d after one at %d", v.Applied(), last)
				}
				last = v.Applied()
				v.Release()
				views.Add(1)
			}
		})
	}
	deadline := time.Now().Add(hung)
	commits, enough := 2000/slow, int64(500/slow)
	if f.Far {
		commits, enough = 300, 20
	}
	for n := 2; (n < commits || views.Load() < enough) && !t.Failed(); n++ {
		b := &storage.Batch{Zxid: int64(n)}
		state(b, n, &has)
		if err := commitPoisoned(r.s, b); err != nil {
			t.Errorf("Commit: %v", err)
		}
		if n >= commits && time.Now().After(deadline) {
			t.Errorf("the readers saw %d views only", views.Load())
		}
	}
	stop.Store(true)
	wg.Wait()
}

// Many goroutines read one view while batches are committed and resets happen.
func testSharedView(t *testing.T, f Factory) {
	r := newRig(t, f)
	r.commit(build)
	old := r.view()
	var wg sync.WaitGroup
	var stop atomic.Bool
	wg.Go(func() {
		defer stop.Store(true)
		for step := range 300 / slow {
			b := &storage.Batch{Zxid: int64(step + 2)}
			build(b)
			change(b, step)
			if err := commitPoisoned(r.s, b); err != nil {
				t.Errorf("Commit: %v", err)
				return
			}
			if step%20 == 19 {
				if err := r.s.Reset(); err != nil {
					t.Errorf("Reset: %v", err)
				}
			}
		}
	})
	for range 3 {
		wg.Go(func() {
			for again := true; again; {
				again = !stop.Load() // once more after the last commit
				if err := sameAll(old); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
}

// sameAll is model.check for a goroutine of a test's own.
func sameAll(h *heldView) error {
	n := 0
	var bad error
	err := h.Walk(func(path string, rec storage.Record) bool {
		n++
		if err := sameRecord(rec, h.m.records[path]); err != nil {
			bad = fmt.Errorf("at %q of Walk: %w", path, err)
		}
		return bad == nil
	})
	if err != nil || bad != nil {
		return errors.Join(err, bad)
	}
	if n != len(h.m.records) {
		return fmt.Errorf("%d records walked, want %d", n, len(h.m.records))
	}
	for path, want := range h.m.records {
		rec, ok, err := h.Get(path)
		if !ok || err != nil {
			return fmt.Errorf("no record at %q: %v, %w", path, ok, err)
		}
		if err := sameRecord(rec, want); err != nil {
			return fmt.Errorf("at %q: %w", path, err)
		}
	}
	return nil
}

func testFlush(t *testing.T, f Factory) {
	r := newRig(t, f)
	flush := func() {
		t.Helper()
		ctx, cancel := context.WithTimeout(t.Context(), hung)
		defer cancel()
		applied := r.s.Applied()
		if err := r.s.Flush(ctx); err != nil {
			t.Fatalf("Flush: %v", err)
		}
		d := r.s.Durable()
		if f.Reopen == nil && d != 0 {
			t.Errorf("Durable is %d, though the store keeps nothing", d)
		}
		if f.Reopen != nil && d < applied {
			t.Errorf("Durable is %d after Flush at %d", d, applied)
		}
	}
	flush()
	r.commit(build)
	flush()
	held := r.view()
	r.commit(func(b *storage.Batch) { change(b, 1) })
	flush()
	held.m.check(t, held.View)
	r.check()
	r.commit(func(*storage.Batch) {}) // its zxid is all that it changes
	flush()
	r.check()
}

func testClosed(t *testing.T, f Factory) {
	s := f.Open(t)
	b := &storage.Batch{Zxid: 1}
	b.Put("/", head(0), nil)
	if err := s.Commit(b); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatalf("Close: %v", err)
	}
	for what, err := range map[string]error{"Commit": s.Commit(b), "Reset": s.Reset(), "Flush": s.Flush(t.Context())} {
		if !errors.Is(err, storage.ErrClosed) {
			t.Errorf("%s on a closed store: %v, want storage.ErrClosed", what, err)
		}
	}
}

func testFlushed(t *testing.T, f Factory) {
	r := newRig(t, f)
	since := map[int64]*model{}
	for step := range 5 {
		r.commit(func(b *storage.Batch) { build(b); change(b, step) })
		since[r.m.applied] = r.m.clone()
		if err := r.s.Flush(t.Context()); err != nil {
			t.Fatalf("Flush: %v", err)
		}
		r.reopen(f, since)
	}
	if err := r.s.Reset(); err != nil {
		t.Fatalf("Reset: %v", err)
	}
	r.m = newModel()
	r.reopen(f, map[int64]*model{0: newModel()})
}

func testWholeBatches(t *testing.T, f Factory) {
	r := newRig(t, f)
	since := map[int64]*model{0: newModel()}
	for step := range 40 {
		r.commit(func(b *storage.Batch) {
			if step == 0 {
				build(b)
			}
			change(b, step)
		})
		since[r.m.applied] = r.m.clone()
		if step%10 == 9 {
			r.reopen(f, since)
			since = map[int64]*model{r.m.applied: r.m.clone()}
			if r.m.applied == 0 {
				r.commit(build)
				since[r.m.applied] = r.m.clone()
			}
		}
	}
}

// head is a head of the length that an engine's heads have.
func head(i int) []byte {
	h := bytes.Repeat([]byte{byte(i)}, 84)
	binary.BigEndian.PutUint64(h, uint64(i))
	return h
}

func data(i int) []byte {
	return fmt.Appendf(nil, "data %d %s", i, strings.Repeat("x", i%50))
}
