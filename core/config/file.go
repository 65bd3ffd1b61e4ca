package config

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"

	"github.com/magiconair/properties"
)

// maxFile bounds a configuration file: one that is larger is something else.
const maxFile = 1 << 20

// ReadFile reads a file of Java properties. Its errors name the file.
func ReadFile(path string) (Settings, string, error) {
	var s Settings
	fi, err := os.Stat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return s, "", &Error{Origin: Origin{File: path}, Reason: path + " file is missing"}
	case err != nil:
		return s, "", &Error{Origin: Origin{File: path}, Reason: err.Error()}
	case fi.IsDir():
		return s, "", &Error{Origin: Origin{File: path}, Reason: "is a directory"}
	case fi.Size() > maxFile:
		return s, "", &Error{Origin: Origin{File: path}, Reason: fmt.Sprintf("%d bytes are too many for a configuration", fi.Size())}
	}
	raw, err := os.ReadFile(path)
	if err != nil {
		return s, "", &Error{Origin: Origin{File: path}, Reason: err.Error()}
	}
	s, err = ParseFile(path, raw)
	return s, string(raw), err
}

// ParseFile reads the text of a file of Java properties.
func ParseFile(path string, raw []byte) (Settings, error) {
	var s Settings
	loader := properties.Loader{Encoding: properties.ISO_8859_1, DisableExpansion: true}
	p, err := loader.LoadBytes(raw)
	if err != nil {
		return s, &Error{Origin: Origin{File: path}, Reason: err.Error()}
	}
	lines := keyLines(raw)
	for _, key := range p.Keys() {
		text, _ := p.Get(key)
		at := lines[strings.TrimSpace(key)]
		s.Put(Value{Key: key, Text: text, Origin: Origin{File: path, Line: at.last}, Before: at.before})
	}
	return s, nil
}

// keyLine is where a key was set last, and where before that, if it was.
type keyLine struct{ last, before int }

// keyLines finds the lines on which each key was set. The library that
// parses the file doesn't say, and an operator wants to know.
func keyLines(raw []byte) map[string]keyLine {
	lines := make(map[string]keyLine)
	continued := false
	for i, line := range bytes.Split(raw, []byte("\n")) {
		line = bytes.TrimRight(line, "\r")
		first := !continued
		tail := len(line) - len(bytes.TrimRight(line, "\\"))
		text := bytes.TrimLeft(line, " \t\f")
		comment := first && len(text) > 0 && (text[0] == '#' || text[0] == '!')
		continued = !comment && tail%2 == 1
		if !first || comment || len(text) == 0 {
			continue
		}
		var key []byte
		for j := 0; j < len(text); j++ {
			c := text[j]
			if c == '\\' && j+1 < len(text) {
				j++
				key = append(key, text[j])
				continue
			}
			if c == '=' || c == ':' || c == ' ' || c == '\t' || c == '\f' {
				break
			}
			key = append(key, c)
		}
		lines[string(key)] = keyLine{i + 1, lines[string(key)].last}
	}
	return lines
}
