package main

import (
	"bytes"
	"fmt"
	"os"
	"strconv"
	"strings"
)

// userHZ is the unit of the CPU times in /proc: Linux shows clock ticks of
// 1/100 s to user space on every architecture that Go supports.
const userHZ = 100

// A procSample is what /proc says of some processes at one moment, added up.
type procSample struct {
	CPU     float64 `json:"cpu_seconds"`
	RSS     int64   `json:"rss_bytes"`
	PeakRSS int64   `json:"peak_rss_bytes"`
}

// sampleProcs reads CPU seconds (user and system, all threads), resident memory
// and its peak of each process and adds them up.
func sampleProcs(pids []int) (procSample, error) {
	var sum procSample
	for _, pid := range pids {
		s, err := sampleProc(pid)
		if err != nil {
			return procSample{}, err
		}
		sum.CPU += s.CPU
		sum.RSS += s.RSS
		sum.PeakRSS += s.PeakRSS
	}
	return sum, nil
}

func sampleProc(pid int) (procSample, error) {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return procSample{}, fmt.Errorf("sample process: %w", err)
	}
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return procSample{}, fmt.Errorf("sample process: %w", err)
	}
	s, err := parseProc(stat, status)
	if err != nil {
		return procSample{}, fmt.Errorf("sample process %d: %w", pid, err)
	}
	return s, nil
}

func parseProc(stat, status []byte) (procSample, error) {
	// The command name, field 2, may hold blanks and brackets: count from the
	// last bracket, behind which field 3 begins.
	end := bytes.LastIndexByte(stat, ')')
	if end < 0 {
		return procSample{}, fmt.Errorf("no command name in %q", stat)
	}
	fields := strings.Fields(string(stat[end+1:]))
	const utime, stime = 14 - 3, 15 - 3
	if len(fields) <= stime {
		return procSample{}, fmt.Errorf("too few fields in %q", stat)
	}
	u, err := strconv.ParseInt(fields[utime], 10, 64)
	if err != nil {
		return procSample{}, err
	}
	sys, err := strconv.ParseInt(fields[stime], 10, 64)
	if err != nil {
		return procSample{}, err
	}
	s := procSample{CPU: float64(u+sys) / userHZ}
	for line := range strings.Lines(string(status)) {
		var dst *int64
		switch {
		case strings.HasPrefix(line, "VmRSS:"):
			dst = &s.RSS
		case strings.HasPrefix(line, "VmHWM:"):
			dst = &s.PeakRSS
		default:
			continue
		}
		f := strings.Fields(line)
		if len(f) < 2 {
			continue
		}
		kb, err := strconv.ParseInt(f[1], 10, 64)
		if err != nil {
			return procSample{}, err
		}
		*dst = kb << 10
	}
	return s, nil
}
