package main

import (
	"context"
	"os/exec"
	"slices"
	"time"
)

// A spread is what repeated measurements of one thing have given.
type spread struct {
	Median float64   `json:"median"`
	Min    float64   `json:"min"`
	Max    float64   `json:"max"`
	All    []float64 `json:"all"`
}

func spreadOf(v []float64) spread {
	if len(v) == 0 {
		return spread{}
	}
	return spread{Median: median(v), Min: slices.Min(v), Max: slices.Max(v), All: v}
}

func median(v []float64) float64 {
	if len(v) == 0 {
		return 0
	}
	s := slices.Sorted(slices.Values(v))
	n := len(s)
	return (s[(n-1)/2] + s[n/2]) / 2
}

// longestStart is when a start is given up: one with many znodes on a slow machine takes its time.
const longestStart = 5 * time.Minute

// timeStart starts a server and returns the milliseconds from before its process was made until it
// had opened a session.
func timeStart(ctx context.Context, cmd *exec.Cmd, addr string) (float64, *process, error) {
	ctx, cancel := context.WithTimeout(ctx, longestStart)
	defer cancel()
	p, err := spawn(cmd)
	if err != nil {
		return 0, nil, err
	}
	at, err := p.awaitAnswer(ctx, addr)
	if err != nil {
		p.kill()
		return 0, nil, err
	}
	return float64(at.Sub(p.begun)) / 1e6, p, nil
}

// longestGap is the longest time, in milliseconds, between two of the moments, which may be in any
// order, that ends after the given one.
func longestGap(at []int64, after int64) float64 {
	at = slices.Sorted(slices.Values(at))
	var gap int64
	for i := 1; i < len(at); i++ {
		if at[i] > after {
			gap = max(gap, at[i]-at[i-1])
		}
	}
	return float64(gap) / 1e6
}
