package jute

import (
	"strings"
	"testing"
)

// TestText: "?" stands for U+FFFD. The results are those of Java's String.
func TestText(t *testing.T) {
	for in, want := range map[string]string{
		"":                         "",
		"a:b":                      "a:b",
		"\u00fc\u20ac\U0001f600":   "\u00fc\u20ac\U0001f600",
		"\ufffd":                   "?",
		"m\xfcller":                "m?ller",
		"\x80\x80":                 "??",
		"\xc0\x80":                 "??",
		"\xc3":                     "?",
		"\xc3(":                    "?(",
		"\xe2\x82":                 "?",
		"\xe2\x82(":                "?(",
		"\xe2(\x82":                "?(?",
		"\xe0\x80\x80":             "???",
		"\xed\xa0\x80":             "?",
		"\xed\xa0\xbd\xed\xb8\x80": "??",
		"\xed\xa0":                 "?",
		"\xf0\x9f\x98":             "?",
		"\xf0\x9f(":                "?(",
		"\xf0\x80\x80\x80":         "????",
		"\xf4\x90\x80\x80":         "????",
		"\xf5\x80":                 "??",
		"\xff\xfe":                 "??",
		"a\xe9:\xe9":               "a?:?",
	} {
		if got := Text([]byte(in)); got != strings.ReplaceAll(want, "?", "\ufffd") {
			t.Errorf("%q is %q, want %q", in, got, want)
		}
	}
}
