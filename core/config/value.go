package config

import (
	"fmt"
	"strconv"
	"strings"
)

// An Origin is where a value came from.
type Origin struct {
	File string // a configuration file,
	Line int    // and the line in it, from 1
	Name string // or the flag, variable or property, as the user wrote it
}

// String names the origin as a user finds it: "conf/zoo.cfg:12", "flag --storage".
func (o Origin) String() string {
	switch {
	case o.File != "" && o.Line > 0:
		return fmt.Sprintf("%s:%d", o.File, o.Line)
	case o.File != "":
		return o.File
	default:
		return o.Name
	}
}

// A Value is one setting as it was written.
type Value struct {
	Key, Text string
	Origin    Origin
	// Before is the line of the same file that sets the key too, and in vain; 0 if none.
	Before int
}

// An Error is a setting that can't be used. Its text names where the setting is.
type Error struct {
	Origin Origin
	Key    string
	Reason string
}

func (e *Error) Error() string {
	where := e.Origin.String()
	switch {
	case where == "" && e.Key == "":
		return e.Reason
	case where == "":
		return e.Key + ": " + e.Reason
	case e.Key == "":
		return where + ": " + e.Reason
	}
	return where + ": " + e.Key + ": " + e.Reason
}

// A Warning is a setting that is ignored or changed, and why.
type Warning struct {
	Origin Origin
	Key    string
	Reason string
}

// String is the warning as it is logged.
func (w Warning) String() string {
	return (&Error{Origin: w.Origin, Key: w.Key, Reason: w.Reason}).Error()
}

// Settings are values by key, later ones over earlier ones.
type Settings struct {
	values map[string]Value
	order  []string
}

// Put sets a key, over what it was set to before.
func (s *Settings) Put(v Value) {
	if s.values == nil {
		s.values = make(map[string]Value)
	}
	v.Key, v.Text = strings.TrimSpace(v.Key), strings.TrimSpace(v.Text)
	if _, ok := s.values[v.Key]; !ok {
		s.order = append(s.order, v.Key)
	}
	s.values[v.Key] = v
}

// Merge puts all of other over s.
func (s *Settings) Merge(other Settings) {
	for _, k := range other.order {
		s.Put(other.values[k])
	}
}

// Get returns the value of a key.
func (s Settings) Get(key string) (Value, bool) {
	v, ok := s.values[key]
	return v, ok
}

// Keys are the keys in the order in which they were first set.
func (s Settings) Keys() []string { return s.order }

// reader takes typed values out of settings and remembers which keys it took.
type reader struct {
	s        Settings
	taken    map[string]bool
	warnings []Warning
	err      *Error // the first one
}

func (r *reader) fail(key, format string, args ...any) {
	if r.err == nil {
		r.err = &Error{Origin: r.s.values[key].Origin, Key: key, Reason: fmt.Sprintf(format, args...)}
	}
}

func (r *reader) warn(key, format string, args ...any) {
	r.warnings = append(r.warnings, Warning{Origin: r.s.values[key].Origin, Key: key, Reason: fmt.Sprintf(format, args...)})
}

func (r *reader) text(key, def string) string {
	r.taken[key] = true
	if v, ok := r.s.values[key]; ok {
		return v.Text
	}
	return def
}

func (r *reader) has(key string) bool {
	_, ok := r.s.values[key]
	return ok
}

// number reads a key that Apache's parser knows: decimal, or refused.
func (r *reader) number(key string, def, min, max int64) int64 {
	text := r.text(key, "")
	if !r.has(key) {
		return def
	}
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil {
		r.fail(key, "%q is not a number", text)
		return def
	}
	if n < min || n > max {
		r.fail(key, "%d is not between %d and %d", n, min, max)
		return def
	}
	return n
}

// boolean reads a key that Apache's parser knows: true or false, or refused.
func (r *reader) boolean(key string, def bool) bool {
	text := r.text(key, "")
	if !r.has(key) {
		return def
	}
	switch strings.ToLower(text) {
	case "true":
		return true
	case "false":
		return false
	}
	r.fail(key, "Invalid option %s for %s. Choose 'true' or 'false.'", text, key)
	return def
}

// property reads a number that Apache takes from a system property: decimal,
// 0x or 0, and the default where it can't be read, which we say.
func (r *reader) property(key string, def, min, max int64) int64 {
	text := r.text(key, "")
	if !r.has(key) {
		return def
	}
	n, err := strconv.ParseInt(text, 0, 64)
	if err != nil || strings.ContainsAny(text, "_bBoO") && !strings.HasPrefix(strings.ToLower(text), "0x") {
		r.warn(key, "%q is not a number; using %d", text, def)
		return def
	}
	if n < min || n > max {
		r.warn(key, "%d is not between %d and %d; using %d", n, min, max, def)
		return def
	}
	return n
}

// flag reads a boolean that Apache takes from a system property: anything but
// true, in any case, is false, and we say so when it isn't false either.
func (r *reader) flag(key string, def bool) bool {
	text := r.text(key, "")
	if !r.has(key) {
		return def
	}
	low := strings.ToLower(text)
	if low != "true" && low != "false" {
		r.warn(key, "%q is neither true nor false; taken as false", text)
	}
	return low == "true"
}
