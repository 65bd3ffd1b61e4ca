package main

import (
	"context"
	"io"
	"log/slog"
	"strconv"
	"sync"
	"time"
)

// A lineHandler writes a log line as ZooKeeper's operators know it, with the
// attributes behind the message:
//
//	2026-11-23 02:29:55,123 [myid:1] - INFO  - following server=2 epoch=0x5
type lineHandler struct {
	mu    *sync.Mutex
	out   io.Writer
	level slog.Leveler
	myid  int64
	attrs []byte
	group string
}

func newLogger(out io.Writer, level slog.Leveler, myid int64) *slog.Logger {
	return slog.New(&lineHandler{mu: new(sync.Mutex), out: out, level: level, myid: myid})
}

func (h *lineHandler) Enabled(_ context.Context, l slog.Level) bool { return l >= h.level.Level() }

func (h *lineHandler) Handle(_ context.Context, r slog.Record) error {
	b := make([]byte, 0, 256)
	when := r.Time
	if when.IsZero() {
		when = time.Now()
	}
	b = when.AppendFormat(b, "2006-01-02 15:04:05,000")
	b = append(b, " [myid:"...)
	b = strconv.AppendInt(b, h.myid, 10)
	b = append(b, "] - "...)
	level := r.Level.String()
	b = append(b, level...)
	for n := len(level); n < 5; n++ {
		b = append(b, ' ')
	}
	b = append(b, " - "...)
	b = appendText(b, r.Message, false)
	b = append(b, h.attrs...)
	r.Attrs(func(a slog.Attr) bool {
		b = appendAttr(b, h.group, a)
		return true
	})
	b = append(b, '\n')
	h.mu.Lock()
	defer h.mu.Unlock()
	_, err := h.out.Write(b)
	return err
}

func (h *lineHandler) WithAttrs(as []slog.Attr) slog.Handler {
	c := *h
	c.attrs = append([]byte(nil), h.attrs...)
	for _, a := range as {
		c.attrs = appendAttr(c.attrs, h.group, a)
	}
	return &c
}

func (h *lineHandler) WithGroup(name string) slog.Handler {
	c := *h
	if name != "" {
		c.group = h.group + name + "."
	}
	return &c
}

func appendAttr(b []byte, group string, a slog.Attr) []byte {
	v := a.Value.Resolve()
	if v.Kind() == slog.KindGroup {
		if a.Key != "" {
			group += a.Key + "."
		}
		for _, g := range v.Group() {
			b = appendAttr(b, group, g)
		}
		return b
	}
	if a.Key == "" {
		return b
	}
	b = append(b, ' ')
	b = append(b, group...)
	b = append(b, a.Key...)
	b = append(b, '=')
	return appendText(b, v.String(), true)
}

// appendText keeps a line a line, whatever a client put into it.
func appendText(b []byte, s string, quoteBlanks bool) []byte {
	quote := quoteBlanks && s == ""
	for i := 0; i < len(s) && !quote; i++ {
		c := s[i]
		quote = c < ' ' || c == 0x7f || quoteBlanks && (c == ' ' || c == '"')
	}
	if quote {
		return strconv.AppendQuote(b, s)
	}
	return append(b, s...)
}
