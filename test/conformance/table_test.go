package conformance

import (
	"bytes"
	"fmt"
	"os"
	"slices"
	"strings"
)

// A table is a file of rows.
type table struct {
	file   string
	config string // a name of configurations
	head   []string
	rows   []*row
}

// A row is a story that begins on a znode of its own.
type row struct {
	name  string
	line  int
	notes []string // lines that begin with "!" or "#"
	steps []*step
}

// A step is something that is done, and what comes of it.
type step struct {
	line     int
	text     []string // as it stands in the file
	requests [][]string
	want     map[string][]string // by label: "" is for all that have none of their own
	because  string
}

// labels are those that may stand before an answer, in the order in which they are written.
var labels = []string{"", "3.8", "zkcore"}

const (
	indent  = "    "
	because = "because"
)

func readTable(file string) (*table, error) {
	b, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	t := &table{file: file}
	for i, line := range strings.Split(strings.TrimRight(string(b), "\n"), "\n") {
		if err := t.add(line, i+1); err != nil {
			return nil, fmt.Errorf("%s:%d: %w", file, i+1, err)
		}
	}
	if t.config == "" {
		return nil, fmt.Errorf("%s: no config", file)
	}
	return t, nil
}

func (t *table) add(line string, no int) error {
	var r *row
	if len(t.rows) > 0 {
		r = t.rows[len(t.rows)-1]
	}
	if name, ok := strings.CutPrefix(line, "== "); ok {
		if slices.ContainsFunc(t.rows, func(r *row) bool { return r.name == name }) {
			return fmt.Errorf("a second row called %q", name)
		}
		t.rows = append(t.rows, &row{name: name, line: no})
		return nil
	}
	if r == nil {
		if name, ok := strings.CutPrefix(line, "config "); ok {
			t.config = name
		}
		t.head = append(t.head, line)
		return nil
	}
	switch {
	case line == "":
		return nil
	case line[0] == '#' || line[0] == '!':
		if len(r.steps) > 0 {
			return fmt.Errorf("a note belongs below the name of a row")
		}
		r.notes = append(r.notes, line)
		return nil
	}
	var s *step
	if len(r.steps) > 0 {
		s = r.steps[len(r.steps)-1]
	}
	if answer, ok := strings.CutPrefix(line, indent); ok {
		if s == nil {
			return fmt.Errorf("an answer to nothing")
		}
		for _, l := range labels[1:] {
			if rest, ok := strings.CutPrefix(answer, l+"|"); ok {
				lines := s.want[l]
				if rest = strings.TrimPrefix(rest, " "); rest != "" {
					lines = append(lines, rest)
				}
				s.want[l] = append([]string{}, lines...) // not nil: an answer of no line is one too
				return nil
			}
		}
		if rest, ok := strings.CutPrefix(answer, because+"| "); ok {
			s.because = rest
			return nil
		}
		s.want[""] = append(s.want[""], answer)
		return nil
	}
	words, err := split(line)
	if err != nil {
		return err
	}
	switch words[0] {
	case "&", "+":
		if s == nil {
			return fmt.Errorf("nothing to belong to")
		}
		s.text = append(s.text, line)
		s.requests = append(s.requests, words)
	default:
		if len(words) < 2 {
			return fmt.Errorf("only one word")
		}
		r.steps = append(r.steps, &step{line: no, text: []string{line}, requests: [][]string{words}, want: make(map[string][]string)})
	}
	return nil
}

// split makes words of a line. A word ends at a space that is not between quotes.
func split(line string) (words []string, err error) {
	for line = strings.TrimLeft(line, " "); line != ""; line = strings.TrimLeft(line, " ") {
		end, quoted := 0, false
		for ; end < len(line) && (quoted || line[end] != ' '); end++ {
			switch {
			case line[end] == '"':
				quoted = !quoted
			case line[end] == '\\' && quoted:
				end++
			}
		}
		if quoted {
			return nil, fmt.Errorf("a quote is not closed in %s", line)
		}
		words = append(words, line[:end])
		line = line[end:]
	}
	return words, nil
}

// answer is what a server with that label has to answer.
func (s *step) answer(label string) []string {
	if lines, ok := s.want[label]; ok {
		return lines
	}
	return s.want[""]
}

// rewrite takes down what a server has answered.
func (s *step) rewrite(label string, got []string) {
	if label != "" && slices.Equal(got, s.want[""]) {
		delete(s.want, label)
		if label == "zkcore" {
			s.because = ""
		}
		return
	}
	if label == "zkcore" && s.because == "" {
		s.because = "?"
	}
	s.want[label] = append([]string{}, got...)
	for _, l := range labels[1:] {
		if slices.Equal(s.want[""], s.want[l]) && label == "" {
			delete(s.want, l)
		}
	}
}

// excluded says that what has these notes, a row or below its head a table, is not for a target: "! not on 3.8:
// before …". It may be called by its label, its name or its group.
func (tg *target) excluded(notes []string) bool {
	named := func(rest string) bool {
		who, _, _ := strings.Cut(rest, ": ")
		return who == tg.label || who == tg.name || who == tg.group
	}
	return slices.ContainsFunc(notes, func(n string) bool {
		if who, ok := strings.CutPrefix(n, "! not on "); ok {
			return named(who)
		}
		who, ok := strings.CutPrefix(n, "! only on ")
		return ok && !named(who)
	})
}

// has says that a row carries a note.
func (r *row) has(note string) bool { return slices.Contains(r.notes, "! "+note) }

func (t *table) format() []byte {
	var b bytes.Buffer
	for _, l := range t.head {
		b.WriteString(l + "\n")
	}
	for i, r := range t.rows {
		if i > 0 {
			b.WriteByte('\n')
		}
		fmt.Fprintf(&b, "== %s\n", r.name)
		for _, n := range r.notes {
			b.WriteString(n + "\n")
		}
		for _, s := range r.steps {
			for _, l := range s.text {
				b.WriteString(l + "\n")
			}
			for _, label := range labels {
				lines, ok := s.want[label]
				if label == "" {
					for _, l := range lines {
						b.WriteString(indent + l + "\n")
					}
					continue
				}
				for _, l := range lines {
					fmt.Fprintf(&b, "%s%s| %s\n", indent, label, l)
				}
				if ok && len(lines) == 0 {
					fmt.Fprintf(&b, "%s%s|\n", indent, label)
				}
			}
			if s.because != "" {
				fmt.Fprintf(&b, "%s%s| %s\n", indent, because, s.because)
			}
		}
	}
	return b.Bytes()
}
