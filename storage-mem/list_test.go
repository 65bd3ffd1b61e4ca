package mem

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
)

// Lists against sorted slices, filled and emptied in orders that matter.
func TestList(t *testing.T) {
	const n = 3000
	up := make([]int, n)
	for i := range up {
		up[i] = i
	}
	down := slices.Clone(up)
	slices.Reverse(down)
	ends := slices.Clone(up) // from both ends to the middle
	for i := range ends {
		ends[i] = i / 2
		if i%2 == 1 {
			ends[i] = n - 1 - i/2
		}
	}
	rnd := rand.New(rand.NewPCG(1, 3))
	orders := map[string][]int{"up": up, "down": down, "ends": ends, "random": rnd.Perm(n)}
	for in, insert := range orders {
		for out, remove := range orders {
			t.Run(in+"-"+out, func(t *testing.T) {
				a := &arena{}
				defer a.close()
				keys := make([][]byte, n)
				recs := make([]ref, n)
				if err := a.reserve(1<<20, 0); err != nil {
					t.Fatal(err)
				}
				list := a.newList(flagList, 0, 0, 1)
				in := make([]bool, n)
				count := 0
				check := func() {
					t.Helper()
					if got := a.refsOf(t, list); len(got) != count {
						t.Fatalf("the list has %d refs, want %d", len(got), count)
					} else {
						at := 0
						for i, there := range in {
							if there {
								if got[at] != recs[i] {
									t.Fatalf("ref %d of the list is %d, want %d", at, got[at], recs[i])
								}
								at++
							}
						}
					}
				}
				for done, i := range insert {
					keys[i] = fmt.Appendf(nil, "/%06d", i)
					recs[i] = a.add(&draft{key: string(keys[i])})
					list = a.listInsert(list, keys[i], recs[i])
					in[i] = true
					count++
					if done%100 == 0 || done < 20 {
						check()
					}
				}
				check()
				for i := 0; i < n; i += 7 { // another record of the same key
					r := a.add(&draft{key: string(keys[i])})
					a.listReplace(list, keys[i], r)
					a.free(recs[i])
					recs[i] = r
				}
				check()
				for done, i := range remove {
					if list == 0 {
						t.Fatal("the list is gone too early")
					}
					list = a.listRemove(list, keys[i])
					a.free(recs[i])
					in[i] = false
					count--
					if count > 0 && (done%100 == 0 || count < 20) {
						check()
					}
				}
				if list != 0 {
					t.Error("a list is left when all is removed")
				}
				a.checkEmpty(t)
			})
		}
	}
}

// refsOf returns a list's refs, and checks its blocks.
func (a *arena) refsOf(t *testing.T, r ref) []ref {
	t.Helper()
	l := a.list(r)
	var refs []ref
	if !l.root() {
		if l.len() > leafMax || l.len() > a.listRoom(r) {
			t.Fatalf("a leaf has %d refs and room for %d", l.len(), a.listRoom(r))
		}
		for i := range l.len() {
			refs = append(refs, l.get(i))
		}
		return refs
	}
	if l.len() < 2 || l.len() > a.listRoom(r) {
		t.Fatalf("a root has %d leaves and room for %d", l.len(), a.listRoom(r))
	}
	for i := range l.len() {
		leaf := a.refsOf(t, l.get(i))
		if len(leaf) == 0 {
			t.Fatal("a leaf is empty")
		}
		refs = append(refs, leaf...)
	}
	return refs
}

// Names that count up leave no room in the leaves behind them, and a list that
// has lost most of its refs gives its blocks back.
func TestListIsCompact(t *testing.T) {
	a := &arena{}
	defer a.close()
	if err := a.reserve(64<<20, 0); err != nil {
		t.Fatal(err)
	}
	const n = 100_000
	keys := make([][]byte, n)
	recs := make([]ref, n)
	for i := range keys {
		keys[i] = fmt.Appendf(nil, "/%06d", i)
		recs[i] = a.add(&draft{key: string(keys[i])})
	}
	before := a.used
	list := a.newList(flagList, 0, 0, 1)
	for i, key := range keys {
		list = a.listInsert(list, key, recs[i])
	}
	if got := float64(a.used-before) * pageSize / n; got > 6.5 { // 4, and spans begun for leaves on their way up
		t.Errorf("a list takes %.1f bytes a name", got)
	}
	for i, key := range keys {
		if i%100 != 0 {
			list = a.listRemove(list, key)
		}
	}
	if got := float64(a.used-before) * pageSize / (n / 100); got > 400 {
		t.Errorf("a list of which a hundredth is left takes %.1f bytes a name", got)
	}
}
