package main

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// An option is a letter that a command knows after a dash.
type option struct {
	letter byte
	value  bool // takes one
	help   string
}

// options are those that a command line had.
type options struct {
	set    map[byte]bool
	values map[byte]string
	args   []string // the other words, the command's name first
}

func (o *options) has(c byte) bool { return o.set[c] }

// parseOptions sorts the words of a command by the rules of Apache's shell: options may stand
// anywhere, several letters may share a dash, a value may stick to its letter, "--" ends them, and
// a negative number is no option.
func parseOptions(known []option, words []string) (*options, error) {
	o := &options{set: make(map[byte]bool), values: make(map[byte]string)}
	find := func(c byte) *option {
		i := slices.IndexFunc(known, func(k option) bool { return k.letter == c })
		if i < 0 {
			return nil
		}
		return &known[i]
	}
	for i := 0; i < len(words); i++ {
		w := words[i]
		if w == "--" {
			o.args = append(o.args, words[i+1:]...)
			break
		}
		if len(w) < 2 || w[0] != '-' || isNumber(w) && find(w[1]) == nil {
			o.args = append(o.args, w)
			continue
		}
		unrecognized := func() error {
			return failf("org.apache.commons.cli.UnrecognizedOptionException: Unrecognized option: %s", w)
		}
		if w[1] == '-' {
			return nil, unrecognized()
		}
		for j := 1; j < len(w); j++ {
			k := find(w[j])
			if k == nil {
				return nil, unrecognized()
			}
			o.set[k.letter] = true
			if !k.value {
				continue
			}
			v := strings.TrimPrefix(w[j+1:], "=")
			if v == "" {
				if i++; i >= len(words) || isOption(known, words[i]) {
					return nil, failf("org.apache.commons.cli.MissingArgumentException: Missing argument for option: %c", k.letter)
				}
				v = words[i]
			}
			o.values[k.letter] = v
			break
		}
	}
	return o, nil
}

func isNumber(w string) bool {
	_, err := strconv.ParseFloat(w, 64)
	return err == nil
}

// isOption says whether a word can't be the value of the option before it.
func isOption(known []option, w string) bool {
	return len(w) >= 2 && w[0] == '-' && slices.ContainsFunc(known, func(k option) bool { return k.letter == w[1] })
}

// version reads the number that -v has, -1 without it.
func (o *options) version() (int32, error) {
	v, ok := o.values['v']
	if !ok {
		return -1, nil
	}
	n, err := strconv.ParseInt(v, 10, 32)
	if err != nil {
		return 0, failf("-v argument must be an int value")
	}
	return int32(n), nil
}

// usage is what a command says when words are missing.
func (c *command) usage(name string) string {
	s := name + " " + usages[name]
	if !c.listOptions {
		return s
	}
	list := slices.Clone(c.options)
	slices.SortFunc(list, func(a, b option) int { return int(a.letter) - int(b.letter) })
	width := 2
	for _, o := range list {
		if o.value {
			width = len("-v <arg>")
		}
	}
	for _, o := range list {
		word := "-" + string(o.letter)
		if o.value {
			word += " <arg>"
		}
		s += fmt.Sprintf("\n %-*s   %s", width, word, o.help)
	}
	return s + "\n"
}
