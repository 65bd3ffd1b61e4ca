package admin

import (
	"bytes"
	"testing"

	"github.com/zkcore/zkcore/core/fuzztest"
)

// FuzzWord asks anything: what is no word gets no answer, what is not listed gets
// nothing but that.
func FuzzWord(f *testing.F) {
	for name := range words {
		f.Add(name, true)
		f.Add(name, false)
	}
	for _, s := range []string{"", "RUOK", "ruo", "ruokk", telnet, "\x00\x00\x00\x00", "wchc", "stmk", "%s%n", "*"} {
		f.Add(s, true)
		f.Add(s, false)
	}
	f.Fuzz(func(t *testing.T, name string, all bool) {
		server := "standalone"
		if !all {
			server = "standalone, default whitelist"
		}
		w := setup(t, server)
		var b bytes.Buffer
		var known bool
		// An answer is a report of the server and has nothing to do with what was sent.
		(fuzztest.Limit{Factor: 4, Constant: 2 << 20}).Check(t, len(name), func() {
			b.Reset()
			known = w.Answer(name, &b)
		})
		_, isWord := words[name]
		switch {
		case !known && (b.Len() > 0 || isWord):
			t.Fatalf("%q is no word and is answered %q", name, b.String())
		case known && !isWord && name != telnet && len(name) != 4:
			t.Fatalf("%q is a word", name)
		case known && !all && name != "srvr" && name != telnet && !bytes.Contains(b.Bytes(), []byte("is not in the whitelist")):
			t.Fatalf("%q is answered %q", name, b.String())
		}
	})
}
