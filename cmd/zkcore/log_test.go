package main

import (
	"bytes"
	"errors"
	"log/slog"
	"regexp"
	"testing"
	"time"
)

func TestLogLine(t *testing.T) {
	var b bytes.Buffer
	log := newLogger(&b, slog.LevelInfo, 3)
	log.Debug("not this")
	log.With("a", 1).WithGroup("g").Warn("took long", "took", 1500*time.Millisecond, "err", errors.New("no space\nleft"), slog.Group("in", "x", ""))
	want := regexp.MustCompile(`^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d{3} \[myid:3\] - WARN  - took long a=1 g\.took=1\.5s g\.err="no space\\nleft" g\.in\.x=""\n$`)
	if !want.MatchString(b.String()) {
		t.Errorf("line %q", b.String())
	}
}
