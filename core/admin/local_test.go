package admin

import (
	"bytes"
	"strings"
	"testing"
	"time"
)

// answer is what a word is answered.
func answer(w *Words, word string) string {
	var b bytes.Buffer
	w.Answer(word, &b)
	return b.String()
}

// TestReadOnlyWords: a server without a leader that shows its state says so everywhere.
func TestReadOnlyWords(t *testing.T) {
	w := setup(t, "standalone")
	w.Config.Standalone = false
	f := w.Source.(*fake)
	f.facts.Serving, f.facts.ReadOnly, f.facts.Mode = false, true, "read-only"
	f.facts.LocalSessions = 2
	for word, want := range map[string]string{
		"isro": "ro",
		"srvr": "\nREAD-ONLY mode; serving only read-only clients\nLatency ",
		"stat": "\nREAD-ONLY mode; serving only read-only clients\nClients:\n",
		"mntr": "zk_server_state\tread-only\n",
		"conf": "peerType=0\n",
	} {
		got := answer(w, word)
		if !strings.Contains(got, want) {
			t.Errorf("%s: %q", word, got)
		}
		if (word == "srvr" || word == "stat") && !strings.Contains(got, "Mode: read-only\n") {
			t.Errorf("%s: %q", word, got)
		}
		if word == "conf" && !strings.HasSuffix(got, want) {
			t.Errorf("conf goes on: %q", got)
		}
		if word == "mntr" && !strings.Contains(got, "zk_local_sessions\t2\n") {
			t.Errorf("mntr: %q", got)
		}
	}
	f.facts.ReadOnly, f.facts.Mode = false, ""
	if got := answer(w, "isro"); got != "null" {
		t.Errorf("isro of a server that serves nobody: %q", got)
	}
}

// TestLocalSessionsDump: dump has the local sessions first.
func TestLocalSessionsDump(t *testing.T) {
	at := time.Date(2026, 11, 23, 2, 44, 36, 0, time.Local)
	date := at.Format(javaDate)
	for mode, want := range map[string]string{
		"leader": "SessionTracker dump:\nLocal Session Sets (1)/(1):\n1 expire at " + date + ":\n\t0x7\n" +
			"Global Session Sets (1)/(1):\n1 expire at " + date + ":\n\t0x8\nephemeral",
		"follower": "SessionTracker dump:\nLocal Session Sets (1)/(1):\n1 expire at " + date + ":\n\t0x7\n" +
			"Global Sessions(1):\n0x8\t4000ms\nephemeral",
	} {
		w := setup(t, "standalone")
		w.Config.Standalone, w.Config.LocalSessions = false, true
		f := w.Source.(*fake)
		f.facts.Mode = mode
		f.local = []Session{{ID: 7, TimeoutMS: 4000, Expires: at}}
		f.sess = []Session{{ID: 8, TimeoutMS: 4000, Expires: at}}
		if got := answer(w, "dump"); !strings.HasPrefix(got, want) {
			t.Errorf("%s:\n%s\nwant\n%s", mode, got, want)
		}
	}
}
