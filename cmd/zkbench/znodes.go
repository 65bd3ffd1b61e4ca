package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"time"

	"github.com/zkcore/zkcore/core/zkerr"
)

// A footprint is what many znodes cost a server.
type footprint struct {
	Znodes     int     `json:"znodes"`
	Size       int     `json:"value_bytes"`
	Before     int64   `json:"rss_before_bytes"`
	After      int64   `json:"rss_after_bytes"`
	Peak       int64   `json:"peak_rss_bytes"`
	PerZnode   float64 `json:"rss_bytes_per_znode"`
	Collected  bool    `json:"collected"` // a JVM was made to collect its garbage before both readings
	HeapBefore int64   `json:"java_heap_before_bytes,omitempty"`
	HeapAfter  int64   `json:"java_heap_after_bytes,omitempty"`
	HeapPer    float64 `json:"java_heap_bytes_per_znode,omitempty"`
}

// childrenPerParent keeps parents to a size that every client can list.
const childrenPerParent = 10000

// measureZnodes loads n znodes and compares the servers' memory before and after; copies is how many servers these
// are, each of which keeps all of them. A JVM that has
// just collected gets the benefit of it: it is asked to, where jcmd is there; others are left to
// themselves for the settling time.
func measureZnodes(ctx context.Context, servers []string, pids []int, copies, n, size int, settle time.Duration) (footprint, error) {
	s, err := dial(servers[0], 30*time.Second, 0, nil)
	if err != nil {
		return footprint{}, err
	}
	defer s.close()
	if err := s.ensure(root, nil); err != nil {
		return footprint{}, err
	}
	base := root + "/m" + strconv.FormatInt(time.Now().UnixNano(), 36)
	if err := s.ensure(base, nil); err != nil {
		return footprint{}, err
	}
	fp := footprint{Znodes: n, Size: size}
	before, heap, collected, err := restingMemory(ctx, pids, settle)
	if err != nil {
		return footprint{}, err
	}
	fp.Before, fp.HeapBefore, fp.Collected = before.RSS, heap, collected

	value := makeValue(size)
	var path []byte
	parents := (n + childrenPerParent - 1) / childrenPerParent
	parent := func(b []byte, i int) []byte {
		b = append(append(b, base...), "/p"...)
		return strconv.AppendInt(b, int64(i), 10)
	}
	err = s.batch(ctx, parents, 0, zkerr.OK, func(b []byte, xid int32, i int) []byte {
		path = parent(path[:0], i)
		return appendCreate(b, xid, path, nil)
	})
	if err != nil {
		return footprint{}, fmt.Errorf("create parents: %w", err)
	}
	err = s.batch(ctx, n, size, zkerr.OK, func(b []byte, xid int32, i int) []byte {
		path = parent(path[:0], i/childrenPerParent)
		path = append(path, "/n"...)
		path = appendPadded(path, int64(i))
		return appendCreate(b, xid, path, value)
	})
	if err != nil {
		return footprint{}, fmt.Errorf("create znodes: %w", err)
	}
	if err := s.sync(); err != nil {
		return footprint{}, err
	}
	after, heap, _, err := restingMemory(ctx, pids, settle)
	if err != nil {
		return footprint{}, err
	}
	fp.After, fp.Peak, fp.HeapAfter = after.RSS, after.PeakRSS, heap
	total := float64(n) * float64(max(1, copies))
	fp.PerZnode = float64(fp.After-fp.Before) / total
	fp.HeapPer = float64(fp.HeapAfter-fp.HeapBefore) / total
	return fp, nil
}

// restingMemory reads the memory of the processes when they have come to rest. The heap is that of
// the JVMs among them.
func restingMemory(ctx context.Context, pids []int, settle time.Duration) (s procSample, heap int64, collected bool, err error) {
	select {
	case <-time.After(settle):
	case <-ctx.Done():
		return s, 0, false, ctx.Err()
	}
	for _, pid := range pids {
		comm, _ := os.ReadFile(fmt.Sprintf("/proc/%d/comm", pid)) // no such process: sampleProcs says so
		if _, err := exec.LookPath("jcmd"); err != nil || strings.TrimSpace(string(comm)) != "java" {
			continue
		}
		for range 2 { // the second finds what the first has made unreachable
			if out, err := exec.CommandContext(ctx, "jcmd", strconv.Itoa(pid), "GC.run").CombinedOutput(); err != nil {
				return s, 0, false, fmt.Errorf("jcmd GC.run: %w: %s", err, out)
			}
		}
		out, err := exec.CommandContext(ctx, "jcmd", strconv.Itoa(pid), "GC.heap_info").Output()
		if err != nil {
			return s, 0, false, fmt.Errorf("jcmd GC.heap_info: %w", err)
		}
		used, err := parseHeapInfo(string(out))
		if err != nil {
			return s, 0, false, err
		}
		heap += used
		collected = true
	}
	s, err = sampleProcs(pids)
	return s, heap, collected, err
}

// parseHeapInfo finds the used bytes of the heap in a line like
// " garbage-first heap   total 385024K, used 3584K [0x…".
func parseHeapInfo(text string) (int64, error) {
	_, rest, ok := strings.Cut(text, "used ")
	if ok {
		if kb, _, ok := strings.Cut(rest, "K"); ok {
			if n, err := strconv.ParseInt(kb, 10, 64); err == nil {
				return n << 10, nil
			}
		}
	}
	return 0, fmt.Errorf("no used heap in %q", text)
}
