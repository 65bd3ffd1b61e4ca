package jute

import "unicode/utf8"

// Text is b as Java reads UTF-8: what is none becomes U+FFFD, one for each sequence that begins well
// and goes wrong, up to where it does. Of a password the hash is made of that.
func Text(b []byte) string {
	if utf8.Valid(b) {
		return string(b)
	}
	s := make([]byte, 0, len(b)+8)
	for len(b) > 0 {
		r, n := utf8.DecodeRune(b)
		if r == utf8.RuneError && n == 1 {
			n = malformed(b)
		}
		s = utf8.AppendRune(s, r)
		b = b[n:]
	}
	return string(s)
}

// malformed is how long the sequence is that begins b and is no character.
func malformed(b []byte) int {
	from, to, size := byte(0x80), byte(0xbf), 0
	switch c := b[0]; {
	case c >= 0xe0 && c <= 0xef:
		size = 3 // half of a surrogate is a whole sequence
		if c == 0xe0 {
			from = 0xa0
		}
	case c >= 0xf0 && c <= 0xf4:
		size = 3 // with a fourth byte it would be a character
		switch c {
		case 0xf0:
			from = 0x90
		case 0xf4:
			to = 0x8f
		}
	}
	if size == 0 || len(b) < 2 || b[1] < from || b[1] > to {
		return 1
	}
	if len(b) < 3 || b[2] < 0x80 || b[2] > 0xbf {
		return 2
	}
	return size
}
