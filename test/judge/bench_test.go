package judge

import (
	"testing"
	"time"
)

// A simulated run has some thousands of records, and there are hundreds of runs.
func BenchmarkJudge(b *testing.B) {
	run := newRig(1).run(20000)
	b.ReportMetric(float64(len(run.Records)), "records")
	b.ReportAllocs()
	for b.Loop() {
		if v := Judge(run, Options{}); !v.OK() {
			b.Fatal(v)
		}
	}
}

func BenchmarkPorcupine(b *testing.B) {
	run := newRig(1).run(20000)
	for b.Loop() {
		v := &Verdict{Counts: map[string]int{}, run: run, dropped: map[string]int{}}
		newCourt(run, v).linear(&Options{Porcupine: time.Minute})
		if !v.OK() {
			b.Fatal(v)
		}
	}
}
