package process

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"sync"
	"time"
	"unicode/utf8"
)

// The log of a module crosses on its stderr, a JSON object a line, as slog writes them: time,
// level, msg and the attributes. hclog's lines ("@level", "@message"), which modules in other
// languages may have, are read as well. Any other line is one that the module's runtime has
// written, and most likely its last: a panic.

// maxLine is how much of a line is kept.
const maxLine = 32 << 10

// failKey is the attribute by which a module says with which exit code the node is to end.
const failKey = "zkcore.fail"

// silenceKey is the attribute by which a module says that it ends as its node is silent.
const silenceKey = "zkcore.silence"

// A logReader puts what a module logs into the node's log.
type logReader struct {
	log    *slog.Logger // for lines that say themselves what they are about
	module *slog.Logger // for any other
	done   chan struct{}

	mu     sync.Mutex
	word   string // the first line of a panic, or what the module fails with
	code   int
	silent bool // it has said that its node is silent
}

func newLogReader(log, module *slog.Logger) *logReader {
	return &logReader{log: log, module: module, done: make(chan struct{})}
}

func (l *logReader) run(r io.Reader) {
	defer close(l.done)
	br := bufio.NewReaderSize(r, maxLine)
	for {
		line, err := br.ReadSlice('\n')
		more := err == bufio.ErrBufferFull
		if len(bytes.TrimSpace(line)) > 0 {
			l.line(line)
		}
		for more { // the rest of it is dropped
			_, err = br.ReadSlice('\n')
			more = err == bufio.ErrBufferFull
		}
		if err != nil {
			return
		}
	}
}

// wait waits until all that the module has said is read, or for that long.
func (l *logReader) wait(d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-l.done:
	case <-t.C:
	}
}

func (l *logReader) lastWord() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.word
}

// failure is what the module has said that the node must end with; 0 if nothing.
func (l *logReader) failure() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.code
}

// silence says whether the module has ended as its node was silent.
func (l *logReader) silence() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.silent
}

func (l *logReader) line(line []byte) {
	rec, ok := parseLine(line)
	if !ok {
		text := strings.ToValidUTF8(strings.TrimRight(string(line), "\r\n"), "?")
		if strings.HasPrefix(text, "panic: ") || strings.HasPrefix(text, "fatal error: ") {
			l.mu.Lock()
			if l.word == "" {
				l.word = printable(text)
			}
			l.mu.Unlock()
		}
		l.module.Warn(text)
		return
	}
	if rec.fail != 0 {
		l.mu.Lock()
		l.word, l.code = rec.msg, rec.fail
		l.mu.Unlock()
		return // the node says so
	}
	if rec.silent {
		l.mu.Lock()
		l.word, l.silent = rec.msg, true
		l.mu.Unlock()
		return // the node says so
	}
	l.log.LogAttrs(context.Background(), rec.level, rec.msg, rec.attrs...)
}

// A logLine is one of a module's log lines.
type logLine struct {
	level slog.Level
	msg   string
	attrs []slog.Attr
	fail  int

	silent bool
}

// maxAttrs bounds the attributes of a line.
const maxAttrs = 64

// parseLine takes a log line apart.
func parseLine(line []byte) (rec logLine, ok bool) {
	if len(line) == 0 || line[0] != '{' || !utf8.Valid(line) {
		return rec, false
	}
	d := json.NewDecoder(bytes.NewReader(line))
	d.UseNumber()
	if t, err := d.Token(); err != nil || t != json.Delim('{') {
		return rec, false
	}
	for d.More() {
		t, err := d.Token()
		key, isKey := t.(string)
		if err != nil || !isKey {
			return rec, false
		}
		var raw json.RawMessage
		if err := d.Decode(&raw); err != nil {
			return rec, false
		}
		text := string(raw)
		if raw[0] == '"' && json.Unmarshal(raw, &text) != nil {
			return rec, false
		}
		switch key {
		case slog.TimeKey, "@timestamp", "@module", "@caller":
		case slog.LevelKey, "@level":
			if rec.level.UnmarshalText([]byte(text)) != nil {
				rec.level = slog.LevelInfo
				if strings.EqualFold(text, "trace") {
					rec.level = slog.LevelDebug - 4
				}
			}
		case slog.MessageKey, "@message":
			rec.msg, ok = text, true
		case failKey:
			fmt.Sscan(text, &rec.fail)
			rec.fail = exitCode(rec.fail)
		case silenceKey:
			rec.silent = true
		default:
			if len(rec.attrs) < maxAttrs {
				rec.attrs = append(rec.attrs, slog.String(key, text))
			}
		}
	}
	return rec, ok
}
