package bolt

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"time"

	"github.com/zkcore/zkcore/plugins/storage"
	"github.com/zkcore/zkcore/plugins/storage/behind"
)

var _ storage.Open = Open

// Defaults of the options.
const (
	defaultCache    = 256 << 20
	defaultInterval = 2000 // ms
	leastCache      = 1 << 20
)

// perRecord is about what a record costs in memory while it is written: each may be
// in a page of its own, which bbolt takes apart and puts together anew.
const perRecord = 6 << 10

// Open opens a store in cfg.Dir. Its options are:
//
//	cacheBytes        what it may take of memory, but for what views hold: five eighths
//	                  are a cache of records, the rest is for what gathers and is written
//	gatherBytes       what may be committed and not be in the file
//	gatherRecords     the same in records and entries
//	flushIntervalMs   after how long it is in the file at the latest; -1: when half of
//	                  one of these bounds is reached, within that commit
func Open(cfg storage.Config) (storage.Store, error) {
	o, err := options(cfg.Options)
	if err != nil {
		return nil, err
	}
	o.Fail = cfg.Fail
	t, err := openTree(cfg)
	if err != nil {
		return nil, err
	}
	return behind.Open(t, o)
}

func options(given map[string]string) (behind.Options, error) {
	n := map[string]int64{}
	for _, key := range slices.Sorted(maps.Keys(given)) {
		least := int64(1)
		switch key {
		case "cacheBytes":
			least = leastCache
		case "gatherBytes", "gatherRecords":
		case "flushIntervalMs":
			least = -1
		default:
			return behind.Options{}, &storage.OptionError{Key: key, Reason: "bolt has no such option"}
		}
		v, err := strconv.ParseInt(given[key], 10, 64)
		if err != nil || v < least || v == 0 {
			return behind.Options{}, &storage.OptionError{Key: key, Reason: fmt.Sprintf("%q is no number from %d on", given[key], least)}
		}
		n[key] = v
	}
	cache := or(n["cacheBytes"], defaultCache)
	interval := or(n["flushIntervalMs"], defaultInterval)
	return behind.Options{
		CacheBytes:    cache / 8 * 5,
		GatherBytes:   or(n["gatherBytes"], min(max(cache/16, 1<<20), 64<<20)),
		GatherRecords: int(or(n["gatherRecords"], min(max(cache/4/perRecord, 1000), 200_000))),
		Interval:      time.Duration(interval) * time.Millisecond,
	}, nil
}

func or(v, fallback int64) int64 {
	if v != 0 {
		return v
	}
	return fallback
}
