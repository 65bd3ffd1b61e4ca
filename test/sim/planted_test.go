//go:build simbug

package sim

import (
	"cmp"
	"flag"
	"fmt"
	"hash/fnv"
	"os"
	"runtime"
	"runtime/debug"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/zkcore/zkcore/core/simbug"
)

var (
	plantedMax   = flag.Int("planted.max", 500, "after how many seeds TestPlanted gives up")
	plantedOnly  = flag.String("planted.only", "", "the bugs to look for, with commas between them; empty: all")
	bugFlag      = flag.String("sim.bug", "", "the bug that all other tests run with")
	plantedFresh = flag.Bool("planted.fresh", false, "look with seeds that nobody has seen before, not with those of each run")
)

func TestMain(m *testing.M) {
	flag.Parse()
	if *bugFlag != "" && !slices.ContainsFunc(bugs, func(b bug) bool { return b.name == *bugFlag }) {
		fmt.Fprintf(os.Stderr, "-sim.bug: there is no bug %q\n", *bugFlag)
		os.Exit(2)
	}
	simbug.Plant(*bugFlag)
	os.Exit(m.Run())
}

// What a bug may take, in seeds.
const (
	plantedWorst  = 500
	plantedMedian = 50
)

// TestPlanted plants one mistake after the other, and looks how many seeds the simulator needs
// to find it. What fails with the mistake must not fail without it.
func TestPlanted(t *testing.T) {
	defer debug.SetGCPercent(debug.SetGCPercent(400)) // see many
	all := bugs
	if *plantedOnly != "" {
		all = slices.DeleteFunc(slices.Clone(bugs), func(b bug) bool {
			return !slices.Contains(strings.Split(*plantedOnly, ","), b.name)
		})
	}
	if len(all) == 0 {
		t.Fatal("-planted.only: there is no such bug")
	}
	var needed []int
	for _, b := range all {
		began := time.Now()
		f := find(t, named(cmp.Or(b.in, "zab")), b)
		took := time.Since(began).Round(100 * time.Millisecond)
		if f.err == nil {
			t.Errorf("%-4s %-26s    -  in %d seeds, %v: %s", b.in, b.name, f.seeds, took, b.what)
			needed = append(needed, f.seeds+1)
			continue
		}
		needed = append(needed, f.seeds)
		first, _, _ := strings.Cut(f.err.Error(), "\n")
		if strings.Contains(first, " violations") {
			_, rest, _ := strings.Cut(f.err.Error(), "\n")
			first, _, _ = strings.Cut(strings.TrimSpace(rest), "\n")
		}
		t.Logf("%-4s %-26s %4d  seed %d, %v: %.150s", b.in, b.name, f.seeds, f.seed, took, first)
	}
	slices.Sort(needed)
	t.Logf("seeds until it was found: median %d, worst %d, of %d bugs", needed[len(needed)/2], needed[len(needed)-1], len(needed))
	if worst := needed[len(needed)-1]; worst > plantedWorst {
		t.Errorf("the worst bug took more than %d seeds", plantedWorst)
	}
	if median := needed[len(needed)/2]; median > plantedMedian && len(needed) == len(bugs) {
		t.Errorf("the median is %d seeds, more than %d", median, plantedMedian)
	}
}

// A found says how a bug was.
type found struct {
	seeds int // how many it took
	seed  uint64
	err   error
}

// find runs seeds on all processors until one fails that does not fail without the bug.
func find(t *testing.T, m Module, b bug) found {
	h := fnv.New32a()
	h.Write([]byte(b.name))
	from := uint64(h.Sum32()) * 1000
	if *plantedFresh {
		from = uint64(time.Now().UnixNano()) / 1000 % 1e12
	}
	if b.harsh {
		from += Harsh
	}
	for done := 0; done < *plantedMax; {
		f := search(m, b, from, done, *plantedMax)
		if f.err == nil {
			return f
		}
		simbug.Plant("")
		err := try(m, b.store(), f.seed)
		if err == nil {
			return f
		}
		t.Errorf("seed %d fails without a bug: %v", f.seed, err)
		done = f.seeds
	}
	return found{seeds: *plantedMax}
}

// search plants a bug and finds the first seed that fails, behind the first done ones.
func search(m Module, b bug, from uint64, done, end int) found {
	simbug.Plant(b.name)
	defer simbug.Plant("")
	var (
		mu    sync.Mutex
		next  = done
		first = found{seeds: end}
		wg    sync.WaitGroup
	)
	for range runtime.GOMAXPROCS(0) {
		wg.Add(1)
		go func() {
			defer wg.Done()
			for {
				mu.Lock()
				n := next
				next++
				// What comes behind a seed that failed is of no interest.
				over := n >= first.seeds
				mu.Unlock()
				if over {
					return
				}
				seed := from + uint64(n)
				if err := try(m, b.store(), seed); err != nil {
					mu.Lock()
					if n < first.seeds {
						first = found{n + 1, seed, err}
					}
					mu.Unlock()
				}
			}
		}()
	}
	wg.Wait()
	return first
}

// try makes the run of a seed. A bug may well end in a panic.
func try(m Module, st Store, seed uint64) (err error) {
	defer func() {
		if x := recover(); x != nil {
			err = fmt.Errorf("panic: %v\n%s", x, debug.Stack())
		}
	}()
	return Run(m, st, seed, false).Err
}

// store is the one that has the bug.
func (b bug) store() Store {
	if b.on == "" {
		return Stores[0]
	}
	return storeNamed(b.on)
}
