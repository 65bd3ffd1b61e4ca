package conn

import (
	"errors"
	"io"
	"net"
	"time"
)

// telnetClose is what telnet sends when its user ends it; Apache counts it
// among the four-letter words.
const telnetClose = "\xff\xf4\xff\xfd"

// fourLetters says whether the first bytes of a connection are a word and not
// the length of a frame: four lower-case letters would be a length beyond any
// limit.
func fourLetters(b []byte) (string, bool) {
	if string(b) == telnetClose {
		return telnetClose, true
	}
	for _, x := range b {
		if x < 'a' || x > 'z' {
			return "", false
		}
	}
	return string(b), true
}

// errAnswered ends a connection on which all is said.
var errAnswered = errors.New("answered")

// wordTime is how long the answer to a word may take its reader.
const wordTime = 10 * time.Second

// fourLetter answers word and ends the connection.
func (c *Conn) fourLetter(word string) error {
	rest := append([]byte(nil), c.in.b[4:]...)
	c.releaseInput()
	c.pos = 0
	c.nc.SetDeadline(time.Now().Add(wordTime))
	if c.srv.cfg.FourLetter == nil || !c.srv.cfg.FourLetter(word, &wordConn{Conn: c.nc, rest: rest}) {
		return errors.New("unknown four-letter word " + quote(word))
	}
	// What the client sent behind its word must be read before the connection is
	// closed, else the system resets it and throws our answer away.
	if half, ok := c.nc.(interface{ CloseWrite() error }); ok && half.CloseWrite() == nil {
		c.nc.SetReadDeadline(time.Now().Add(linger))
		io.CopyN(io.Discard, c.nc, 64<<10)
	}
	return errAnswered
}

func quote(word string) string {
	if word == telnetClose {
		return "(telnet close)"
	}
	return `"` + word + `"`
}

// A wordConn is the connection as a word's handler sees it: what was read
// behind the word comes first.
type wordConn struct {
	net.Conn
	rest []byte
}

func (w *wordConn) Read(p []byte) (int, error) {
	if len(w.rest) > 0 {
		n := copy(p, w.rest)
		w.rest = w.rest[n:]
		return n, nil
	}
	return w.Conn.Read(p)
}
