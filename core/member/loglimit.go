package member

import (
	"context"
	"log/slog"
	"sync"
	"time"
)

// linesPerSecond bounds the log lines of one text: whoever can reach a port of ours can
// cause some of them.
const linesPerSecond = 10

// maxTexts bounds what a limit remembers; the texts are ours, and few.
const maxTexts = 256

// A limit is a log handler that passes so many lines of each text a second, and says with
// the next one how many it left out.
type limit struct {
	slog.Handler
	state *limitState
}

type limitState struct {
	mu    sync.Mutex
	texts map[string]*textLines
}

type textLines struct {
	second  time.Time
	lines   int
	leftOut int
}

// Limited is a logger that passes a bounded number of lines of each text a second to log.
func Limited(log *slog.Logger) *slog.Logger {
	return slog.New(&limit{log.Handler(), &limitState{texts: map[string]*textLines{}}})
}

func (l *limit) Handle(ctx context.Context, r slog.Record) error {
	leftOut, pass := l.state.pass(r.Message, r.Time)
	if !pass {
		return nil
	}
	if leftOut > 0 {
		r = r.Clone()
		r.AddAttrs(slog.Int("linesLeftOut", leftOut))
	}
	return l.Handler.Handle(ctx, r)
}

func (s *limitState) pass(text string, at time.Time) (leftOut int, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	t := s.texts[text]
	if t == nil {
		if len(s.texts) >= maxTexts {
			return 0, true
		}
		t = &textLines{}
		s.texts[text] = t
	}
	if d := at.Sub(t.second); d >= time.Second || d < 0 {
		t.second, t.lines = at, 0
	}
	if t.lines++; t.lines > linesPerSecond {
		t.leftOut++
		return 0, false
	}
	leftOut, t.leftOut = t.leftOut, 0
	return leftOut, true
}

func (l *limit) WithAttrs(as []slog.Attr) slog.Handler {
	return &limit{l.Handler.WithAttrs(as), l.state}
}

func (l *limit) WithGroup(name string) slog.Handler {
	return &limit{l.Handler.WithGroup(name), l.state}
}
