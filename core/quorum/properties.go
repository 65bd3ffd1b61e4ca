package quorum

import (
	"strconv"
	"strings"
	"unicode/utf16"
)

// parseProperties reads a Java properties text as far as it matters here: a
// later line of the same key replaces an earlier one. It takes UTF-8, where the
// format itself has Latin-1: configuration texts are made by servers, in UTF-8.
func parseProperties(text string) (map[string]string, error) {
	props := map[string]string{}
	for len(text) > 0 {
		var line string
		line, text = logicalLine(text)
		if line == "" {
			continue
		}
		key, value := splitKey(line)
		k, err := unescape(key)
		if err != nil {
			return nil, err
		}
		v, err := unescape(value)
		if err != nil {
			return nil, err
		}
		props[strings.TrimSpace(k)] = v
	}
	return props, nil
}

const blanks = " \t\f"

// logicalLine cuts the first line off text, joined with those that a backslash
// at its end continues it by. A comment or an empty line comes back as "".
func logicalLine(text string) (line, rest string) {
	cut := func(s string) (string, string) {
		i := strings.IndexAny(s, "\r\n")
		if i < 0 {
			return s, ""
		}
		if strings.HasPrefix(s[i:], "\r\n") {
			return s[:i], s[i+2:]
		}
		return s[:i], s[i+1:]
	}
	line, rest = cut(text)
	line = strings.TrimLeft(line, blanks)
	if line == "" || line[0] == '#' || line[0] == '!' {
		return "", rest
	}
	if !continued(line) {
		return line, rest
	}
	var b strings.Builder
	for continued(line) {
		b.WriteString(line[:len(line)-1])
		line, rest = cut(rest)
		line = strings.TrimLeft(line, blanks)
	}
	b.WriteString(line)
	return b.String(), rest
}

// continued says whether a line ends in an odd number of backslashes.
func continued(line string) bool {
	n := len(line) - len(strings.TrimRight(line, `\`))
	return n%2 == 1
}

// splitKey splits a line at the first '=', ':' or blank that is not escaped.
func splitKey(line string) (key, value string) {
	i := 0
	for i < len(line) && !strings.ContainsRune("=:"+blanks, rune(line[i])) {
		if line[i] == '\\' {
			i++
		}
		i++
	}
	if i >= len(line) {
		return line, ""
	}
	key, value = line[:i], strings.TrimLeft(line[i:], blanks)
	if value != "" && (value[0] == '=' || value[0] == ':') {
		value = strings.TrimLeft(value[1:], blanks)
	}
	return key, value
}

func unescape(s string) (string, error) {
	if !strings.Contains(s, `\`) {
		return s, nil
	}
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] != '\\' || i+1 == len(s) {
			if s[i] != '\\' {
				b.WriteByte(s[i])
			}
			continue
		}
		i++
		switch s[i] {
		case 't':
			b.WriteByte('\t')
		case 'n':
			b.WriteByte('\n')
		case 'r':
			b.WriteByte('\r')
		case 'f':
			b.WriteByte('\f')
		case 'u':
			units := []uint16{}
			for {
				u, err := hex4(s, i+1)
				if err != nil {
					return "", err
				}
				units = append(units, u)
				i += 4
				// The other half of a character above U+FFFF is an escape too.
				if !utf16.IsSurrogate(rune(u)) || len(units) == 2 || !strings.HasPrefix(s[i+1:], `\u`) {
					break
				}
				i += 2
			}
			b.WriteString(string(utf16.Decode(units)))
		default:
			b.WriteByte(s[i])
		}
	}
	return b.String(), nil
}

func hex4(s string, at int) (uint16, error) {
	if len(s) >= at+4 {
		if u, err := strconv.ParseUint(s[at:at+4], 16, 16); err == nil {
			return uint16(u), nil
		}
	}
	return 0, &ConfigError{Msg: `Malformed \uxxxx encoding.`, Unexpected: true}
}
