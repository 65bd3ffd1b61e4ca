package conn

import (
	"log/slog"
	"sync"
	"time"
)

// linesPerSecond bounds the log lines that clients can cause.
const linesPerSecond = 10

// unlimited is the reserve of descriptors where there is no limit to them.
const unlimited = 1 << 16

// A limiter passes so many lines a second and says how many it left out.
type limiter struct {
	log *slog.Logger
	now func() time.Time

	mu      sync.Mutex
	second  time.Time
	lines   int
	dropped int
}

func (l *limiter) warn(msg string, args ...any) {
	now := l.now()
	l.mu.Lock()
	if now.Sub(l.second) >= time.Second {
		l.second, l.lines = now, 0
	}
	l.lines++
	if l.lines > linesPerSecond {
		l.dropped++
		l.mu.Unlock()
		return
	}
	dropped := l.dropped
	l.dropped = 0
	l.mu.Unlock()
	if dropped > 0 {
		args = append(args, "linesLeftOut", dropped)
	}
	l.log.Warn(msg, args...)
}
