package main

import (
	"bytes"
	"errors"
	"strings"
	"testing"
	"time"

	"log/slog"

	"github.com/zkcore/zkcore/plugins/consensus"
	"github.com/zkcore/zkcore/plugins/process"
)

func TestWaits(t *testing.T) {
	for crashes, want := range map[int]time.Duration{1: 100 * time.Millisecond, 2: 200 * time.Millisecond, 5: 1600 * time.Millisecond, 8: 10 * time.Second, 1000: 10 * time.Second} {
		if got := waitAfter(crashes); got != want {
			t.Errorf("after %d crashes: %v, want %v", crashes, got, want)
		}
	}
}

// TestSupervisor: which deaths begin anew, which end the server, and with what.
func TestSupervisor(t *testing.T) {
	gone := &process.Died{Module: "storage mem", Err: errors.New("the process has ended")}
	silent := &process.Died{Module: "consensus zab", Err: errors.New("the server has said nothing"), Silence: true}
	const again = -1
	for name, tc := range map[string]struct {
		max, crashes int
		ran          time.Duration
		stopping     bool
		starting     bool
		died         *process.Died
		code, count  int
		line         string
	}{
		"the first":                     {max: 2, died: gone, code: again, count: 1, line: "serving nobody"},
		"the last":                      {max: 2, crashes: 1, died: gone, code: again, count: 2, line: "crashes=2"},
		"too many":                      {max: 2, crashes: 2, died: gone, code: consensus.ExitModule, line: "too often"},
		"after a long time":             {max: 2, crashes: 2, ran: time.Hour, died: gone, code: again, count: 1, line: "serving nobody"},
		"too often, but it stood still": {max: 2, crashes: 2, ran: time.Minute, died: silent, code: again, count: 2, line: "this server stood still"},
		"it stood still for the first":  {max: 0, ran: time.Minute, died: silent, code: again, count: 0, line: "this server stood still"},
		"it can't have stood still":     {max: 2, crashes: 2, died: silent, code: consensus.ExitModule, line: "too often"},
		"while it stops":                {max: 2, stopping: true, died: gone, code: consensus.ExitModule, line: "not in order"},
		"a signal while it starts":      {max: 2, stopping: true, starting: true, died: gone, code: 0, line: "a signal asks for it"},
		"a signal after a death":        {max: 2, starting: true, died: gone, code: again, count: 1, line: "serving nobody"},
		"a module that says so": {max: 2, died: &process.Died{Module: "consensus zab", Err: errors.New("a sync has failed"), Code: consensus.ExitDisk},
			code: consensus.ExitDisk, line: "a sync has failed"},
	} {
		var out bytes.Buffer
		s := newSupervisor(slog.New(slog.NewTextHandler(&out, nil)), tc.max, tc.crashes)
		s.began = s.began.Add(-tc.ran)
		if !tc.starting {
			s.up(nil)
		}
		if tc.stopping {
			s.stop()
		}
		type ended struct{ code, count int }
		var end ended
		s.exec = func(crashes int) error { end = ended{again, crashes}; panic("gone") }
		s.exit = func(code int) { end = ended{code: code}; panic("gone") }
		func() {
			defer func() { recover() }()
			s.restart(tc.died)
		}()
		if end != (ended{tc.code, tc.count}) {
			t.Errorf("%s: %+v, want %d with %d", name, end, tc.code, tc.count)
		}
		if strings.Count(out.String(), "\n") != 1 || !strings.Contains(out.String(), tc.line) {
			t.Errorf("%s: the log says %q, want one line with %q", name, out.String(), tc.line)
		}
	}
}
