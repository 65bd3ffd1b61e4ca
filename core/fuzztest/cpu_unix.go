//go:build unix

package fuzztest

import (
	"syscall"
	"time"
)

// cpuTime is how much of the processor this process has used; 0 if nobody knows.
func cpuTime() time.Duration {
	var r syscall.Rusage
	if syscall.Getrusage(syscall.RUSAGE_SELF, &r) != nil {
		return 0
	}
	return time.Duration(r.Utime.Nano() + r.Stime.Nano())
}
