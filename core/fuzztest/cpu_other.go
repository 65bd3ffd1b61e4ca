//go:build !unix

package fuzztest

import "time"

// cpuTime is not known here: a hang is found by the clock alone.
func cpuTime() time.Duration { return 0 }
