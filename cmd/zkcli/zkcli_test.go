package main

import (
	"bytes"
	"flag"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/zkcore/zkcore/internal/client"
	"github.com/zkcore/zkcore/internal/client/fakezk"
)

var rewrite = flag.Bool("rewrite", false, "write the outputs in testdata anew")

// A locked buffer takes stdout and stderr together, as a terminal does.
type locked struct {
	sync.Mutex
	bytes.Buffer
	prefix string
	into   *locked
}

func (l *locked) Write(b []byte) (int, error) {
	l.into.Lock()
	defer l.into.Unlock()
	for line := range strings.Lines(string(b)) {
		l.into.Buffer.WriteString(l.prefix + line)
	}
	return len(b), nil
}

// Each script in testdata is a list of shells: their arguments after "$", the lines that are piped
// in, "----", and what came out: lines of stderr begin with "! ". The last line is the exit code.
func TestScripts(t *testing.T) {
	local := time.Local
	time.Local = time.UTC
	defer func() { time.Local = local }()
	files, err := filepath.Glob("testdata/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatalf("no scripts: %v", err)
	}
	for _, file := range files {
		t.Run(filepath.Base(file), func(t *testing.T) {
			s := fakezk.Start(t)
			b, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			var out strings.Builder
			for i, part := range strings.Split(string(b), "\n$ ") {
				command, _, _ := strings.Cut(part, "\n----")
				command = strings.TrimPrefix(command, "$ ")
				line, input, _ := strings.Cut(command, "\n")
				if i > 0 {
					out.WriteString("\n")
				}
				out.WriteString("$ " + command + "\n----\n" + runScript(s.Addr, words(line), input))
			}
			if *rewrite {
				if err := os.WriteFile(file, []byte(out.String()), 0o644); err != nil {
					t.Fatal(err)
				}
				return
			}
			if out.String() != string(b) {
				t.Errorf("%s has changed (-rewrite writes it anew):\n%s", file, diff(string(b), out.String()))
			}
		})
	}
}

// builtFrom is what differs from build to build.
var builtFrom = regexp.MustCompile(`(CLI version: 3\.9\.5-).*`)

func runScript(addr string, args []string, input string) string {
	if input != "" {
		input += "\n"
	}
	var all locked
	stdout, stderr := &locked{into: &all}, &locked{into: &all, prefix: "! "}
	// -waitforconnection, so that what the prompt says of the connection is the same every time.
	full := append([]string{"-server", addr, "-waitforconnection"}, args...)
	code := run(full, strings.NewReader(input), stdout, stderr)
	all.Lock()
	defer all.Unlock()
	text := strings.ReplaceAll(all.String(), addr, "HOST:PORT")
	text = builtFrom.ReplaceAllString(text, "$1…")
	return text + "exit " + strconv.Itoa(code) + "\n"
}

// diff shows the first line that differs, with those before it.
func diff(want, got string) string {
	w, g := strings.Split(want, "\n"), strings.Split(got, "\n")
	i := 0
	for i < len(w) && i < len(g) && w[i] == g[i] {
		i++
	}
	return strings.Join(g[max(0, i-5):i], "\n") + "\nwant: " + strings.Join(w[i:min(i+3, len(w))], "\n      ") +
		"\ngot:  " + strings.Join(g[i:min(i+3, len(g))], "\n      ")
}

func TestWords(t *testing.T) {
	for line, want := range map[string][]string{
		"ls /":                      {"ls", "/"},
		"  ls   /  ":                {"ls", "/"},
		`create /a "b c" 'd "e" f'`: {"create", "/a", "b c", `d "e" f`},
		`set /a ""`:                 {"set", "/a", ""},
		`set /a x"y z"`:             {"set", "/a", `x"y`, `z"`},
		"":                          nil,
		"   ":                       nil,
	} {
		if got := words(line); !slices.Equal(got, want) {
			t.Errorf("%q: %q, want %q", line, got, want)
		}
	}
}

func TestParseSettings(t *testing.T) {
	s, err := parseSettings([]string{"-server", "h:1/x", "-timeout", "5000", "-r", "-unknown", "get", "-s", "/a"})
	if err != nil {
		t.Fatal(err)
	}
	if s.server != "h:1/x" || s.timeout.Milliseconds() != 5000 || !s.readOnly || !slices.Equal(s.command, []string{"get", "-s", "/a"}) {
		t.Fatalf("%+v", s)
	}
	for _, bad := range [][]string{{"-server"}, {"-timeout", "x"}, {"-timeout", "0"}} {
		if _, err := parseSettings(bad); err == nil {
			t.Errorf("%q was accepted", bad)
		}
	}
}

func TestParseOptions(t *testing.T) {
	known := []option{{letter: 's'}, {letter: 'e'}, {letter: 't', value: true}}
	for line, want := range map[string]string{
		"create -s -e /a x": "es [create /a x]",
		"create -se /a x":   "es [create /a x]",
		"create /a x -t 5":  "t=5 [create /a x]",
		"create -t5 /a":     "t=5 [create /a]",
		"create -t=5 /a":    "t=5 [create /a]",
		"create -st 5 /a":   "st=5 [create /a]",
		"create -t -5 /a":   "t=-5 [create /a]",
		"create /a -5":      " [create /a -5]",
		"create -- -s":      " [create -s]",
		"create -":          " [create -]",
		"create -q /a":      "org.apache.commons.cli.UnrecognizedOptionException: Unrecognized option: -q",
		"create --stat /a":  "org.apache.commons.cli.UnrecognizedOptionException: Unrecognized option: --stat",
		"create /a -t":      "org.apache.commons.cli.MissingArgumentException: Missing argument for option: t",
		"create -t -s /a":   "org.apache.commons.cli.MissingArgumentException: Missing argument for option: t",
	} {
		o, err := parseOptions(known, words(line))
		got := ""
		if err != nil {
			got = err.Error()
		} else {
			for _, k := range []byte("est") {
				if o.has(k) {
					got += string(k)
				}
			}
			if v, ok := o.values['t']; ok {
				got += "=" + v
			}
			got += " [" + strings.Join(o.args, " ") + "]"
		}
		if got != want {
			t.Errorf("%s: %q, want %q", line, got, want)
		}
	}
}

func TestHexDump(t *testing.T) {
	const want = `         +-------------------------------------------------+
         |  0  1  2  3  4  5  6  7  8  9  a  b  c  d  e  f |
+--------+-------------------------------------------------+----------------+
|00000000| 00 01 41 7e 7f ff 42 42 42 42 42 42 42 42 42 42 |..A~..BBBBBBBBBB|
|00000010| 43                                              |C               |
+--------+-------------------------------------------------+----------------+`
	data := append([]byte{0, 1, 'A', '~', 0x7f, 0xff}, "BBBBBBBBBBC"...)
	if got := hexDump(data); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
	if got := hexDump(nil); got != "" {
		t.Errorf("of nothing: %q", got)
	}
}

func TestClientConfig(t *testing.T) {
	const text = "server.1=a:2888:3888:participant;0.0.0.0:2181\nserver.2=b:2888:3888:observer;2182\nserver.3=c:2888:3888\nversion=100000003"
	if got, want := clientConfig(text), "100000003 0.0.0.0:2181,0.0.0.0:2182"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
}

func TestNoServer(t *testing.T) {
	s := fakezk.Start(t)
	s.Refuse(true)
	var all locked
	out := &locked{into: &all}
	if code := run([]string{"-server", s.Addr, "get", "/a"}, strings.NewReader(""), out, out); code != 1 {
		t.Errorf("exit code %d", code)
	}
	if want := "Connecting to " + s.Addr + "\nKeeperErrorCode = ConnectionLoss for /a\n"; all.String() != want {
		t.Errorf("%q, want %q", all.String(), want)
	}
}

// deleteall sends several multis, and the deepest znodes first.
func TestDeleteAllBatches(t *testing.T) {
	s := fakezk.Start(t)
	var in strings.Builder
	in.WriteString("create /d\ncreate /d/x\n")
	for i := range 25 {
		in.WriteString("create /d/x/" + strconv.Itoa(i) + "\n")
	}
	in.WriteString("deleteall /d -b 10\nls /\nquit\n")
	got := runScript(s.Addr, nil, in.String())
	if !strings.Contains(got, "ls /\n[]\n") || strings.Contains(got, "Failed to delete") {
		t.Errorf("output:\n%s", got)
	}
}

func TestComplete(t *testing.T) {
	s := fakezk.Start(t)
	var all locked
	sh := newShell(settings{server: s.Addr, timeout: 30e9, wait: true}, &locked{into: &all}, &locked{into: &all})
	if err := sh.connect(s.Addr); err != nil {
		t.Fatal(err)
	}
	defer sh.leave()
	for _, p := range []string{"/broker", "/brokers", "/brokers/ids", "/other"} {
		if _, err := sh.zk.Create(t.Context(), p, nil, client.Persistent); err != nil {
			t.Fatal(err)
		}
	}
	for line, want := range map[string]string{
		"ls /o":         "ls /other",
		"ls /b":         "ls /broker",
		"get /brokers/": "get /brokers/ids",
		"getAc":         "getAcl ",
		"ls /none":      "",
	} {
		got, pos, ok := sh.complete(line, len(line))
		if got != want || ok && pos != len(want) {
			t.Errorf("%q: %q, cursor at %d, want %q", line, got, pos, want)
		}
	}
}
