package main

import (
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/spf13/pflag"

	"github.com/zkcore/zkcore/core/config"
)

func parse(t *testing.T, environ []string, args ...string) (*config.Config, error) {
	t.Helper()
	var o options
	fs := pflag.NewFlagSet("zkcore", pflag.ContinueOnError)
	o.flags(fs)
	if err := fs.Parse(args); err != nil {
		t.Fatal(err)
	}
	return o.load(fs, fs.Args(), environ)
}

func TestOptions(t *testing.T) {
	path := filepath.Join(t.TempDir(), "zoo.cfg")
	if err := os.WriteFile(path, []byte("dataDir=/d\nclientPort=2181\ntickTime=1000\nstorage=file\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	env := []string{"ZKCORE_STORAGE=env", "ZKCORE_TICKTIME=1500"}
	c, err := parse(t, env, "-Dzookeeper.snapCount=55", "-Dzookeeper.storage=property", "--config="+path, "--storage=flag", "--set", "maxClientCnxns=7")
	if err != nil {
		t.Fatal(err)
	}
	if c.Storage != "flag" || c.TickTime.Milliseconds() != 1500 || c.SnapCount != 55 || c.MaxClientCnxns != 7 || c.Consensus != "zab" {
		t.Errorf("%+v", c)
	}
	if c, err = parse(t, env, path); err != nil || c.Storage != "env" {
		t.Errorf("%v, storage %s", err, c.Storage)
	}
	if c, err = parse(t, nil, path); err != nil || c.Storage != "file" {
		t.Errorf("%v, storage %s", err, c.Storage)
	}
	if c, err = parse(t, nil, "2182", "/data", "700", "9"); err != nil || c.ClientPort != 2182 || c.DataDir != "/data" || c.TickTime.Milliseconds() != 700 || c.MaxClientCnxns != 9 {
		t.Errorf("the old form: %v, %+v", err, c)
	}
	for _, args := range [][]string{{path, path}, {"--config=" + path, path}, {"--set", "tickTime", path}, {}} {
		if _, err := parse(t, nil, args...); err == nil {
			t.Errorf("%v was taken", args)
		}
	}
	if _, err := parse(t, nil); err == nil || !strings.Contains(err.Error(), "--config=") || !strings.Contains(err.Error(), "dataDir is not set") {
		t.Errorf("no arguments: %v", err)
	}
	if _, err := parse(t, nil, "--set", "tickTime=x", path); err == nil || !strings.Contains(err.Error(), "flag --set: tickTime") {
		t.Errorf("a bad flag: %v", err)
	}
}

// TestModules refuses a module that is not in the binary, and says where it was
// chosen and what there is.
func TestModules(t *testing.T) {
	path := filepath.Join(t.TempDir(), "zoo.cfg")
	if err := os.WriteFile(path, []byte("dataDir="+t.TempDir()+"\nclientPort=2181\nstorage=paper\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct {
		args []string
		want string
	}{
		{[]string{path}, path + ":3: storage: no storage module \"paper\" in this binary: it has bolt, mem"},
		{[]string{path, "--consensus=paxos"}, "flag --consensus: consensus: no consensus module \"paxos\" in this binary: it has raft, zab"},
	} {
		c, err := parse(t, nil, tc.args...)
		if err != nil {
			t.Fatal(err)
		}
		err = run(t.Context(), c, 0, io.Discard)
		var bad *config.Error
		if !errors.As(err, &bad) || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%v: %v, want %q", tc.args, err, tc.want)
		}
	}
}

// TestStorageOptions refuses an option that the store can't use, and says where it stands.
func TestStorageOptions(t *testing.T) {
	for line, want := range map[string]string{
		"zkcore.storage.bolt.cacheBytes=12":  "zkcore.storage.bolt.cacheBytes: \"12\" is no number from 1048576 on",
		"zkcore.storage.bolt.chacheBytes=12": "zkcore.storage.bolt.chacheBytes: bolt has no such option",
	} {
		path := filepath.Join(t.TempDir(), "zoo.cfg")
		if err := os.WriteFile(path, []byte("dataDir="+t.TempDir()+"\nclientPort=2181\nstorage=bolt\n"+line+"\n"), 0o644); err != nil {
			t.Fatal(err)
		}
		c, err := parse(t, nil, path)
		if err != nil {
			t.Fatal(err)
		}
		err = run(t.Context(), c, 0, io.Discard)
		var bad *config.Error
		if !errors.As(err, &bad) || !strings.Contains(err.Error(), path+":4: "+want) {
			t.Errorf("%s: %v, want %q", line, err, want)
		}
	}
}
