package admin

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"math"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/zkcore/zkcore/core/config"
	"github.com/zkcore/zkcore/core/metrics"
	"github.com/zkcore/zkcore/plugins/storage"
)

// fake is a server in the situation in which the vectors were recorded.
type fake struct {
	facts Facts
	conns []Connection
	sess  []Session
	local []Session
	eph   []Ephemerals
	reset int

	quotas []Quota
}

func (f *fake) Facts() Facts              { return f.facts }
func (f *fake) Connections() []Connection { return f.conns }
func (f *fake) Watches() (int, int, int)  { return 2, 2, 3 }
func (f *fake) Sessions() []Session       { return f.sess }
func (f *fake) LocalSessions() []Session  { return f.local }
func (f *fake) Ephemerals() []Ephemerals  { return f.eph }
func (f *fake) Quotas() []Quota           { return f.quotas }
func (f *fake) ResetServer()              { f.reset++ }
func (f *fake) ResetConnections()         { f.reset++ }

func setup(t testing.TB, server string) *Words {
	t.Helper()
	dir := t.TempDir()
	text := "dataDir=" + dir + "\nclientPort=2181\ntickTime=2000\n"
	if !strings.Contains(server, "default whitelist") {
		text += "4lw.commands.whitelist=*\n"
	}
	mode := strings.Fields(server)[0]
	f := &fake{facts: Facts{
		Serving: true, Mode: mode, Started: time.Now(), Zxid: 0xa2, Nodes: 31, Received: 238, Sent: 254, Connections: 3,
		LatencyAvg: 2.52831, LatencyMax: 25, LastProposal: -1, MinProposal: -1, MaxProposal: -1,
	}}
	switch mode {
	case "standalone":
		now := time.Now()
		self := Connection{Addr: "127.0.0.1:1", Received: 1, Since: now.Add(-time.Hour), Expires: now.Add(10 * time.Second)}
		one := Connection{Addr: "127.0.0.1:2", Interest: 1, Received: 3, Sent: 3, Session: 0x10002, LastOp: "GETD", TimeoutMS: 10000, LastCxid: 2, LastZxid: 0xa2, Since: now, LastResponse: now, Expires: self.Expires}
		two := one
		two.Session, two.LastOp, two.Since, two.Expires = 0x10003, "ADDW", now.Add(time.Second), now.Add(20*time.Second)
		f.conns = []Connection{two, self, one}
		f.sess = []Session{{0x10002, 10000, now.Add(10 * time.Second)}, {0x10003, 20000, now.Add(20 * time.Second)}}
		f.eph = []Ephemerals{{0x10002, []string{"/eph1"}}}
	case "looking":
		f.facts.Serving = false
	default:
		f.facts.Ensemble, f.facts.Peer = true, "following - broadcast"
		f.conns = []Connection{{Addr: "127.0.0.1:1", Received: 1}}
		text += "initLimit=10\nsyncLimit=5\nserver.1=127.0.0.1:28811:38811:participant;127.0.0.1:2181\nserver.2=127.0.0.1:28812:38812:participant;127.0.0.1:2192\nserver.3=127.0.0.1:28813:38813:observer;127.0.0.1:2181\n"
		id := map[string]string{"follower": "1", "observer": "3"}[mode]
		if id == "" {
			id = "1"
		}
		if err := os.WriteFile(filepath.Join(dir, "myid"), []byte(id), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	path := filepath.Join(dir, "zoo.cfg")
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	cfg, err := config.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	return &Words{Config: cfg, Source: f, Metrics: metrics.New(nil), Log: slog.New(slog.DiscardHandler)}
}

var (
	number = regexp.MustCompile(`-?\b(0x)?[0-9][0-9a-fx.]*\b`)
	day    = regexp.MustCompile(`at [A-Z][a-z]{2} [A-Z][a-z]{2} .*:`)
	dirs   = regexp.MustCompile(`(?m)Dir=.*$`)
	values = regexp.MustCompile(`(?m)=.*$`)
)

// shape takes out of an answer what differs between two servers.
func shape(word, text string) string {
	switch word {
	case "envi":
		return values.ReplaceAllString(text, "=")
	case "mntr":
		return text
	}
	text = regexp.MustCompile(`(?m)^Zookeeper version: .*$`).ReplaceAllString(text, "VERSION")
	text = day.ReplaceAllString(text, "at DAY:")
	text = dirs.ReplaceAllString(text, "Dir=")
	text = regexp.MustCompile(`\[[0-9]\]`).ReplaceAllString(text, "[I]")
	text = regexp.MustCompile(`lop=[A-Z]+`).ReplaceAllString(text, "lop=OP")
	return number.ReplaceAllString(text, "N")
}

// TestLayout compares each answer with the one that Apache gave, but for its
// numbers.
func TestLayout(t *testing.T) {
	file, err := os.Open("testdata/four-letter-words.jsonl")
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	n := 0
	for sc := bufio.NewScanner(file); sc.Scan(); {
		var v struct{ Server, Word, Output string }
		if err := json.Unmarshal(sc.Bytes(), &v); err != nil {
			t.Fatal(err)
		}
		word := strings.TrimSuffix(v.Word, "\n")
		if word == "telnet close" {
			word = telnet
		}
		_, ok := words[word]
		if strings.HasPrefix(v.Server, "read-only") || !ok && word != telnet && word != "nope" {
			continue
		}
		n++
		t.Run(v.Server+" "+v.Word, func(t *testing.T) {
			w := setup(t, v.Server)
			var b bytes.Buffer
			if got := w.Answer(word, &b); got != (word != "nope") {
				t.Fatalf("taken for a word: %v", got)
			}
			if word == "mntr" && strings.Contains(v.Output, "zk_version") {
				names := make(map[string]bool)
				for line := range strings.Lines(b.String()) {
					name, _, _ := strings.Cut(line, "\t")
					names[name] = true
				}
				for line := range strings.Lines(v.Output) {
					name, _, _ := strings.Cut(line, "\t")
					if !names[name] && !perNamespace.MatchString(name) {
						t.Errorf("%s is missing", name)
					}
				}
				return
			}
			got, want := shape(word, b.String()), shape(word, v.Output)
			if word == "envi" {
				got = strings.TrimSuffix(got, "go.version=\n")
			}
			if got != want {
				t.Errorf("got\n%s\nwant\n%s", got, want)
			}
		})
	}
	if n < 40 {
		t.Errorf("only %d vectors were compared", n)
	}
}

// perNamespace are metrics that exist once somebody used a namespace, and those
// of the JVM.
var perNamespace = regexp.MustCompile(`_per_namespace$|jvm_`)

func TestWhitelist(t *testing.T) {
	w := setup(t, "standalone default whitelist")
	for name, want := range map[string]string{
		"srvr": "Zookeeper version: " + Compat + "-zkcore-",
		"mntr": "mntr is not executed because it is not in the whitelist.\n",
		"wchc": "wchc is not executed because it is not in the whitelist.\n",
	} {
		var b bytes.Buffer
		if !w.Answer(name, &b) || !strings.HasPrefix(b.String(), want) {
			t.Errorf("%s: %q", name, b.String())
		}
	}
	if w.Answer("abcd", io.Discard) {
		t.Error("abcd is no word")
	}
	if !regexp.MustCompile(`^\d+\.\d+\.\d+-.*, built on \d\d/\d\d/\d{4} \d\d:\d\d [A-Z]+$`).MatchString(VersionText()) {
		t.Errorf("version %q", VersionText())
	}
}

func TestRefusalsAreFewLines(t *testing.T) {
	w := setup(t, "standalone default whitelist")
	var log bytes.Buffer
	w.Log, w.Refusals = slog.New(slog.NewTextHandler(&log, nil)), new(Limiter)
	start := time.Now()
	for range 1000 {
		w.Answer("mntr", io.Discard)
	}
	most := 10 * (1 + int(time.Since(start)/time.Second))
	if n := strings.Count(log.String(), "word=mntr"); n < 1 || n > most {
		t.Errorf("%d lines, want 1 to %d", n, most)
	}
}

func TestNumbers(t *testing.T) {
	for v, want := range map[float64]string{0: "0.0", 5: "5.0", 2.52834: "2.5283", 2.52835: "2.5284", 0.5: "0.5", 12345678: "1.2345678E7"} {
		if got := Average(v); got != want {
			t.Errorf("Average(%v) = %s, want %s", v, got, want)
		}
	}
	for v, want := range map[float64]string{math.NaN(): "NaN", math.Inf(1): "Infinity", 2.3e7: "2.3E7", 1e-5: "1.0E-5", 5: "5.0", 123.25: "123.25"} {
		if got := JavaDouble(v); got != want {
			t.Errorf("JavaDouble(%v) = %s, want %s", v, got, want)
		}
	}
}

func TestPrometheus(t *testing.T) {
	w := setup(t, "leader 3.9.5")
	w.Descriptors = func() (int64, int64) { return 7, 1024 }
	w.Metrics.Add("response_bytes", 12)
	w.Source.(*fake).facts.Storage = storage.Stats{File: 71, Free: 72, Gathered: 73, Cache: 74, Hits: 75, Misses: 76, Flushes: 77, FlushedOps: 78}
	w.Metrics.Observe("readlatency", 3)
	w.Metrics.ObserveKey("ack_latency", "2", 1)
	get := func(query string) string {
		t.Helper()
		rec := httptest.NewRecorder()
		w.Handler().ServeHTTP(rec, httptest.NewRequest("GET", "/metrics"+query, nil))
		if rec.Code != 200 || !strings.HasPrefix(rec.Header().Get("Content-Type"), "text/plain; version=0.0.4") {
			t.Fatalf("%d %v", rec.Code, rec.Header())
		}
		return rec.Body.String()
	}
	lines := strings.Split(get(""), "\n")
	for _, want := range []string{
		"# TYPE response_bytes counter", "response_bytes 12", `readlatency{quantile="0.99"} 3.125`, "readlatency_count 1", `ack_latency_count{key="2"} 1`,
		"znode_count 32", "learners 0", "open_file_descriptor_count 7", "zkcore_serving 1", "zkcore_disk_state 0", "zkcore_disk_free_bytes 0", `fsynctime{quantile="0.5"} NaN`,
		"zkcore_storage_file_bytes 71", "zkcore_storage_free_bytes 72", "zkcore_storage_gathered_bytes 73", "zkcore_storage_cache_bytes 74",
		"zkcore_storage_cache_hits_total 75", "zkcore_storage_cache_misses_total 76", "zkcore_storage_flushes_total 77", "zkcore_storage_flushed_ops_total 78",
		"zkcore_storage_damaged 0",
	} {
		if !slices.Contains(lines, want) {
			t.Errorf("no line %q", want)
		}
	}
	if got := get("?name[]=response_bytes"); got != "# HELP response_bytes response_bytes\n# TYPE response_bytes counter\nresponse_bytes 12\n" {
		t.Errorf("asked for one family: %q", got)
	}
	for _, tc := range []struct {
		method, path string
		code         int
	}{{"GET", "/", 404}, {"TRACE", "/metrics", 403}} {
		rec := httptest.NewRecorder()
		w.Handler().ServeHTTP(rec, httptest.NewRequest(tc.method, tc.path, nil))
		if rec.Code != tc.code {
			t.Errorf("%s %s: %d", tc.method, tc.path, rec.Code)
		}
	}

	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	addr, err := w.Serve(ctx, "127.0.0.1", 0, w.Log)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := http.Get("http://" + addr.String() + "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
}

func TestReset(t *testing.T) {
	w := setup(t, "standalone")
	w.Metrics.Add("response_bytes", 12)
	for _, name := range []string{"srst", "crst"} {
		if !w.Answer(name, io.Discard) {
			t.Error(name)
		}
	}
	if w.Source.(*fake).reset != 2 || w.Metrics.Counter("response_bytes").Value() != 0 {
		t.Error("nothing was reset")
	}
}
