package sim

import (
	_ "embed" // of testdata/seeds
	"strconv"
	"strings"
	"sync"
)

// The seeds that once found something, and which of them are older than a kind of load or harm: those do without it, so
// that they stay the runs that they were.

//go:embed testdata/seeds
var keptSeeds string

// What was new when the seeds above it were kept already.
const (
	quotasLine = "# From here on clients set quotas, too."
	localsLine = "# From here on sessions may be local, too."
	vanishLine = "# From here on clients may leave without a word, and ways to learners be narrow."
)

// above returns the seeds above that line of the file.
func above(line string) map[uint64]bool { return olderThan()[line] }

var olderThan = sync.OnceValue(func() map[string]map[uint64]bool {
	all := map[string]map[uint64]bool{}
	for _, line := range []string{quotasLine, localsLine, vanishLine} {
		text, _, ok := strings.Cut(keptSeeds, "\n"+line+"\n")
		if !ok {
			panic("sim: testdata/seeds has no line " + line)
		}
		all[line] = map[uint64]bool{}
		for row := range strings.Lines(text) {
			no, _, _ := strings.Cut(row, " ")
			no, _, _ = strings.Cut(no, "/")
			if seed, err := strconv.ParseUint(no, 10, 64); err == nil {
				all[line][seed] = true
			}
		}
	}
	return all
})
