package proto

import (
	"fmt"
	"strings"
	"unicode/utf8"

	"github.com/zkcore/zkcore/core/zkerr"
)

// A PathError says what is wrong with a path, in the words of Apache's tools.
// To a client it is zkerr.BadArguments.
type PathError struct {
	Path   string
	Reason string
	At     int // which character, or -1 if it is about the whole path
}

func (e *PathError) Error() string {
	if e.At < 0 {
		return e.Reason
	}
	return fmt.Sprintf("Invalid path string %q caused by %s @%d", e.Path, e.Reason, e.At)
}

// ZKCode returns the code that the client gets.
func (*PathError) ZKCode() int32 { return int32(zkerr.BadArguments) }

// Unwrap lets errors.Is find the code.
func (*PathError) Unwrap() error { return zkerr.BadArguments }

// ValidatePath says whether path can be the name of a znode.
func ValidatePath(path string) error {
	switch {
	case path == "":
		return &PathError{path, "Path length must be > 0", -1}
	case path[0] != '/':
		return &PathError{path, "Path must start with / character", -1}
	case path == "/":
		return nil
	case path[len(path)-1] == '/':
		return &PathError{path, "Path must not end with / character", -1}
	}
	at := 1    // in characters, which are what Apache counts
	start := 1 // of the segment, in bytes
	for i := 1; i < len(path); at++ {
		c := path[i]
		if c >= utf8.RuneSelf {
			// Above U+FFFF Apache sees two surrogates; malformed bytes become
			// U+FFFD. All of them are refused.
			r, n := utf8.DecodeRuneInString(path[i:])
			if r <= 0x9f || r >= 0xd800 && r <= 0xf8ff || r >= 0xfff0 {
				return &PathError{path, "invalid character", at}
			}
			i += n
			continue
		}
		switch {
		case c == 0:
			return &PathError{path, "null character not allowed", at}
		case c < 0x20, c == 0x7f:
			return &PathError{path, "invalid character", at}
		case c == '/':
			if i == start {
				return &PathError{path, "empty node name specified", at}
			}
			if relative(path[start:i]) {
				return &PathError{path, "relative paths not allowed", at - 1}
			}
			start = i + 1
		}
		i++
	}
	if relative(path[start:]) {
		return &PathError{path, "relative paths not allowed", at - 1}
	}
	return nil
}

func relative(segment string) bool { return segment == "." || segment == ".." }

// ValidatePathPartial says whether path has the form that is asked of it before
// its parent is looked up: it has a parent, and no NUL.
func ValidatePathPartial(path string) error {
	if i := strings.IndexByte(path, 0); i >= 0 {
		return &PathError{path, "null character not allowed", utf8.RuneCountInString(path[:i])}
	}
	if strings.IndexByte(path, '/') < 0 {
		return &PathError{path, "Path must start with / character", -1}
	}
	return nil
}
