package txnlog

import (
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"

	"github.com/zkcore/zkcore/core/vfs"
	"github.com/zkcore/zkcore/plugins/consensus"
)

// The list of files says which files the log has. A record says nothing of the one
// before it, and the first of an epoch may come after any: so a file that is gone could
// not be missed, nor the last one, nor a whole directory.
//
// A file is on the list before it holds a record, and off it before it is removed.

// readList returns the files on the list; ok is false if there is none.
func (l *Log) readList() (names []string, ok bool, err error) {
	if l.opts.List == "" {
		return nil, false, nil
	}
	b, err := vfs.ReadFile(l.fs, l.opts.List, 16<<20)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, false, nil
	}
	if err != nil {
		return nil, false, err
	}
	text := string(b)
	if text != "" && !strings.HasSuffix(text, "\n") {
		return nil, false, &Damage{l.opts.List, int64(len(text)), "the list of the log's files does not end with a line"}
	}
	for line := range strings.Lines(text) {
		name := strings.TrimSuffix(line, "\n")
		if _, ok := parseLogName(name); !ok {
			return nil, false, &Damage{l.opts.List, 0, fmt.Sprintf("the list of the log's files has %q", clip([]byte(name)))}
		}
		names = append(names, name)
	}
	return names, true, nil
}

// writeList makes segs the list, durably.
func (l *Log) writeList(segs []segment) error {
	if l.opts.List == "" {
		return nil
	}
	var b strings.Builder
	for _, s := range segs {
		b.WriteString(s.name)
		b.WriteByte('\n')
	}
	dir := parent(l.opts.List)
	return vfs.WriteFile(l.fs, dir, l.opts.List+".tmp", l.opts.List, []byte(b.String()))
}

func parent(name string) string {
	if i := strings.LastIndexByte(name, '/'); i > 0 {
		return name[:i]
	}
	return "."
}

// missing looks for a file on the list that is not there and may hold a transaction
// above From. An Apache server that had the directory meanwhile knows no list: it may
// have cut the log at its end. Then there is a file that is not on the list, which
// begins above all that is missing.
func (l *Log) missing(segs []segment) error {
	names, ok, err := l.readList()
	if err != nil || !ok {
		return err
	}
	there := func(name string) bool {
		return slices.ContainsFunc(segs, func(s segment) bool { return s.name == name })
	}
	var gone []segment
	for i, name := range names {
		z, _ := parseLogName(name)
		// What ends where the next begins, at or below the state, nobody needs.
		var next consensus.Zxid
		if i+1 < len(names) {
			next, _ = parseLogName(names[i+1])
		}
		if !there(name) && (next == 0 || next > l.opts.From+1) {
			gone = append(gone, segment{z, name})
		}
	}
	if len(gone) == 0 {
		return nil
	}
	last := gone[len(gone)-1]
	foreign := slices.ContainsFunc(segs, func(s segment) bool {
		return s.zxid > last.zxid && !slices.Contains(names, s.name)
	})
	atEnd := !slices.ContainsFunc(segs, func(s segment) bool {
		return s.zxid > gone[0].zxid && slices.Contains(names, s.name)
	})
	if foreign && atEnd {
		return nil
	}
	return &Damage{gone[0].name, 0, "the file is missing"}
}
