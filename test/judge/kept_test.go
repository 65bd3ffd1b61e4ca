package judge

import (
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/zkcore/zkcore/test/history"
)

var (
	fileFlag  = flag.String("judge.file", "", "a history to judge, as the nemesis keeps it")
	writeFlag = flag.Bool("judge.write", false, "write the histories in testdata that the rig makes anew")
)

func read(t *testing.T, path string) *history.Run {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	run, err := history.Read(f)
	if err != nil {
		t.Fatalf("%s: %v", path, err)
	}
	return run
}

// Histories that were kept are judged for ever: those called good-… are right, and
// in one called bad-I07-… that invariant is broken. Their bytes are of their time,
// so this also holds that old files can be read.
func TestKeptHistories(t *testing.T) {
	if *fileFlag != "" {
		v := Judge(read(t, *fileFlag), Options{Porcupine: time.Minute})
		if t.Log(v); !v.OK() {
			t.Fail()
		}
		return
	}
	if *writeFlag {
		for name, mistake := range map[string]string{"good-rig": "", "bad-I24-rig": "lose an event", "bad-I07-rig": "propose a write again"} {
			r := newRig(7)
			r.mistake = mistake
			f, err := os.Create(filepath.Join("testdata", name+".jsonl"))
			if err != nil {
				t.Fatal(err)
			}
			if err := r.run(400).Write(f); err != nil {
				t.Fatal(err)
			}
			if err := f.Close(); err != nil {
				t.Fatal(err)
			}
		}
	}
	files, err := filepath.Glob("testdata/*.jsonl")
	if err != nil || len(files) < 3 {
		t.Fatalf("%d histories, %v", len(files), err)
	}
	for _, path := range files {
		name := strings.TrimSuffix(filepath.Base(path), ".jsonl")
		verdict, rest, _ := strings.Cut(name, "-")
		v := Judge(read(t, path), Options{Porcupine: time.Minute})
		switch invariant, _, _ := strings.Cut(rest, "-"); {
		case verdict == "good" && !v.OK():
			t.Errorf("%s: %s", path, v)
		case verdict == "bad" && !v.Has(invariant):
			t.Errorf("%s: want %s: %s", path, invariant, v)
		case verdict != "good" && verdict != "bad":
			t.Errorf("%s: is it good or bad?", path)
		}
	}
}
