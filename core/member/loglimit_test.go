package member

import (
	"bytes"
	"context"
	"log/slog"
	"strings"
	"testing"
	"time"
)

func TestLimitedLog(t *testing.T) {
	var b bytes.Buffer
	log := Limited(slog.New(slog.NewTextHandler(&b, nil))).With("port", 3888)
	at := time.Unix(1000, 0)
	line := func(text string) {
		r := slog.NewRecord(at, slog.LevelWarn, text, 0)
		if err := log.Handler().Handle(context.Background(), r); err != nil {
			t.Fatal(err)
		}
	}
	for range 50 {
		line("refused")
	}
	line("looking")
	if n := strings.Count(b.String(), "refused"); n != linesPerSecond {
		t.Errorf("%d lines of 50 in a second", n)
	}
	if !strings.Contains(b.String(), "looking port=3888") && !strings.Contains(b.String(), "msg=looking port=3888") {
		t.Errorf("another text was held back: %s", b.String())
	}
	b.Reset()
	at = at.Add(time.Second)
	line("refused")
	if !strings.Contains(b.String(), "linesLeftOut=40") {
		t.Errorf("not said how many were left out: %s", b.String())
	}
}
