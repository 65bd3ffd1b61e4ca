package mem

import (
	"bytes"
	"fmt"
	"os"
	"runtime"
	"runtime/debug"
	"strconv"
	"testing"
	"time"

	"github.com/zkcore/zkcore/plugins/storage"
	"github.com/zkcore/zkcore/plugins/storage/storagetest"
)

func BenchmarkStore(b *testing.B) {
	storagetest.Bench(b, storagetest.Factory{Open: open})
}

// BenchmarkMemory says how much resident memory a znode of 100 bytes takes, with
// a head of 84 and a path of 20, in trees of a million of several shapes. The time
// that it gives is of no meaning.
func BenchmarkMemory(b *testing.B) {
	for _, tc := range []struct{ parents, children int }{{1, 1_000_000}, {1000, 1000}, {100_000, 10}, {500_000, 1}} {
		b.Run(fmt.Sprintf("%dx%d", tc.parents, tc.children), func(b *testing.B) {
			before := resident(b)
			s := open(b)
			storagetest.Fill(b, s, tc.parents, tc.children)
			v := s.View()
			n := v.Len()
			v.Release()
			for b.Loop() { // what is measured is not the time
			}
			b.ReportMetric(float64(resident(b)-before)/float64(n), "B/znode")
			if err := s.Close(); err != nil {
				b.Fatal(err)
			}
			b.ReportMetric(float64(resident(b)-before)/(1<<20), "MB-after-close")
		})
	}
}

// BenchmarkPause says how long the longest commit of a single create takes, on
// the way to a million znodes.
func BenchmarkPause(b *testing.B) {
	for b.Loop() {
		s := open(b)
		batch := &storage.Batch{}
		head, data := make([]byte, 84), make([]byte, 100)
		batch.Put("/", head, nil)
		var longest time.Duration
		for i := range 1_000_000 {
			batch.Put("/n"+strconv.Itoa(i), head, data)
			begin := time.Now()
			if err := s.Commit(batch); err != nil {
				b.Fatal(err)
			}
			longest = max(longest, time.Since(begin))
			batch.Reset()
		}
		b.ReportMetric(float64(longest.Microseconds()), "µs-longest")
		if err := s.Close(); err != nil {
			b.Fatal(err)
		}
	}
}

// resident is the process's resident memory, in bytes.
func resident(b *testing.B) int {
	runtime.GC()
	debug.FreeOSMemory()
	statm, err := os.ReadFile("/proc/self/statm")
	if err != nil {
		b.Skip("no /proc/self/statm here: ", err)
	}
	pages, err := strconv.Atoi(string(bytes.Fields(statm)[1]))
	if err != nil {
		b.Fatal(err)
	}
	return pages * os.Getpagesize()
}
