package znode

import (
	"strconv"
	"strings"
)

// An addr is an IPv4 or IPv6 address; len is 4 or 16, or 0 for none.
type addr struct {
	b   [16]byte
	len int
}

// validIP says whether an ACL's id is an address, or an address and the number
// of bits that count.
func validIP(s string) bool {
	_, _, ok := parseNet(s)
	return ok
}

// matchIP says whether the address id is in the net that entry names.
func matchIP(id, entry string) bool {
	n, bits, ok := parseNet(entry)
	if !ok {
		return false
	}
	a, ok := parseAddr(id)
	if !ok || a.len != n.len {
		return false
	}
	for i := 0; i < a.len && bits > 0; i++ {
		mask := byte(0xff)
		if bits < 8 {
			mask <<= 8 - bits
		}
		if (a.b[i]^n.b[i])&mask != 0 {
			return false
		}
		bits -= 8
	}
	return true
}

func parseNet(s string) (a addr, bits int, ok bool) {
	host, mask, masked := strings.Cut(s, "/")
	if a, ok = parseAddr(host); !ok {
		return a, 0, false
	}
	bits = a.len * 8
	if masked {
		n, err := strconv.Atoi(mask)
		if err != nil || n < 0 || n > bits {
			return a, 0, false
		}
		bits = n
	}
	return a, bits, true
}

// parseAddr reads an address as Apache's servers do: numbers as Java reads them, which may have a
// sign and as many zeros before them as one likes; no IPv4 address at the end of an IPv6 one, and no
// zone. What they would refuse must not be taken here: in a mixed ensemble the leader alone decides
// what is stored, and all have to read the same in it.
func parseAddr(s string) (addr, bool) {
	if !strings.Contains(s, ":") {
		return parse4(s)
	}
	return parse6(s)
}

func parse4(s string) (addr, bool) {
	a := addr{len: 4}
	for i := range 4 {
		part, rest, more := strings.Cut(s, ".")
		if more != (i < 3) {
			return a, false
		}
		n, err := strconv.ParseInt(part, 10, 32)
		if err != nil || n < 0 || n > 255 {
			return a, false
		}
		a.b[i] = byte(n)
		s = rest
	}
	return a, true
}

func parse6(s string) (addr, bool) {
	a := addr{len: 16}
	head, tail, short := strings.Cut(s, "::")
	front, ok := groups(head)
	if !ok {
		return a, false
	}
	if !short {
		if len(front) != 16 {
			return a, false
		}
		copy(a.b[:], front)
		return a, true
	}
	back, ok := groups(tail)
	if !ok || len(front)+len(back) > 14 {
		return a, false
	}
	copy(a.b[:], front)
	copy(a.b[16-len(back):], back)
	return a, true
}

// groups reads groups of up to four hex digits.
func groups(s string) ([]byte, bool) {
	if s == "" {
		return nil, true
	}
	b := make([]byte, 0, 16)
	for {
		part, rest, more := strings.Cut(s, ":")
		n, err := strconv.ParseInt(part, 16, 32)
		if err != nil || len(part) > 4 || len(b) > 14 {
			return nil, false
		}
		b = append(b, byte(n>>8), byte(n))
		if !more {
			return b, true
		}
		s = rest
	}
}
