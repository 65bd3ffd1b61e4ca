package config

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/zkcore/zkcore/core/fuzztest"
)

// A line of two bytes is a key, which is kept with its text, its origin and its line,
// in several tables. A file is no longer than maxFile.
var files = fuzztest.Limit{Factor: 400, Constant: 256 << 10}

func FuzzFile(f *testing.F) {
	f.Add([]byte("dataDir=/d\nclientPort=2181\n" + three))
	f.Add([]byte("a\\u00zz=1"))
	f.Add([]byte("dataDir=/d\nclientPort=2181\\\n\\\n\\"))
	f.Add([]byte("\xff\xfe\x00=\x00\r\r\n!\n#\\\nclientPort 99999999999999999999\ntickTime:-1"))
	f.Add([]byte("server.1=::1:2888:3888\nserver.1=[::1]:2888:3888:observer;[\nserver.x=1\ngroup.1=1:2:3\nweight.1=99999999999999999999"))
	f.Add([]byte("dataDir=/d\nclientPort=2181\n4lw.commands.whitelist=*,ruok,,\nminSessionTimeout=1e9\nsnapCount=0x\nclientPortAddress=%\n"))
	if sample, err := os.ReadFile(filepath.Join("..", "..", "conf", "zoo_sample.cfg")); err != nil {
		f.Fatal(err)
	} else {
		f.Add(sample)
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		files.Check(t, len(raw), func() {
			s, err := ParseFile("f", raw)
			if err != nil {
				return
			}
			if _, err := Load(s); err != nil && err.Error() == "" {
				t.Error("an error without a text")
			}
		})
	})
}

// FuzzProperties takes anything as the words behind -D and as an environment.
func FuzzProperties(f *testing.F) {
	for _, s := range []string{"zookeeper.snapCount=7", "jute.maxbuffer=0xfffff", "=", "zookeeper.=", "java.home=/x", "zkcore.election.holdMs=-1",
		"ZKCORE_SERVER_1=h:1:2", "ZKCORE_=", "ZKCORE_SERVER_9999999999999999999999=x", "ZKCORE_TICKTIME==\x00", "zookeeper.server.1=a:b:c\nd"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		words := strings.Split(s, "\x00")
		var fromWords, fromEnv Settings
		var warnings []Warning
		// The table of the names of all keys is built for each call.
		(fuzztest.Limit{Factor: 400, Constant: 1 << 20}).Check(t, len(s), func() {
			fromWords, warnings = FromProperties(words)
			var more []Warning
			fromEnv, more = FromEnviron(words)
			warnings = append(warnings, more...)
		})
		if len(fromWords.Keys()) > len(words) || len(fromEnv.Keys()) > len(words) {
			t.Fatalf("%d and %d keys of %d words", len(fromWords.Keys()), len(fromEnv.Keys()), len(words))
		}
		for _, w := range warnings {
			if w.String() == "" {
				t.Error("a warning without a text")
			}
		}
		fromWords.Merge(fromEnv)
		if _, err := Load(fromWords); err != nil && err.Error() == "" {
			t.Error("an error without a text")
		}
	})
}

func FuzzMyID(f *testing.F) {
	for _, s := range []string{"", "1", "1\n", "255\r\n", " 1", "-1", "+1", "0x1", "1_0", "9223372036854775807", "9223372036854775808", "1\x00", "\n1", "１"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		var id int64
		var err error
		fuzztest.Check(t, len(raw), func() { id, err = parseMyID(raw) })
		if err != nil {
			if len(err.Error()) > 600 {
				t.Errorf("an error of %d bytes", len(err.Error()))
			}
			return
		}
		if again, err := parseMyID(fmt.Appendf(nil, "%d\n", id)); err != nil || again != id {
			t.Fatalf("%d, again %d, %v", id, again, err)
		}
	})
}
