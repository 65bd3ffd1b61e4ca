package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestSnapshotOfADamagedStore: the tool names the file and what is wrong with it, and leaves it where it is.
func TestSnapshotOfADamagedStore(t *testing.T) {
	dir := t.TempDir()
	store := filepath.Join(dir, "version-2", "storage-bolt")
	if err := os.MkdirAll(store, 0o755); err != nil {
		t.Fatal(err)
	}
	file, garbage := filepath.Join(store, "tree.db"), bytes.Repeat([]byte("garbage."), 4096)
	if err := os.WriteFile(file, garbage, 0o600); err != nil {
		t.Fatal(err)
	}
	cfg := filepath.Join(dir, "zoo.cfg")
	if err := os.WriteFile(cfg, []byte("dataDir="+dir+"\nclientPort=2181\nstorage=bolt\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	// It logs to where the program's errors go.
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	stderr := os.Stderr
	os.Stderr = w
	cmd := snapshotCommand()
	cmd.SetArgs([]string{cfg})
	cmd.SilenceErrors, cmd.SilenceUsage = true, true
	err = cmd.Execute()
	os.Stderr = stderr
	w.Close()
	var log bytes.Buffer
	if _, err := log.ReadFrom(r); err != nil {
		t.Fatal(err)
	}
	if err == nil || !strings.Contains(err.Error(), file) || !strings.Contains(err.Error(), "is a head of a bbolt file") {
		t.Errorf("it says %v", err)
	}
	if strings.Contains(log.String(), "is set aside") {
		t.Errorf("it logs what it does not do: %s", log.String())
	}
	if b, err := os.ReadFile(file); err != nil || !bytes.Equal(b, garbage) {
		t.Errorf("the file is another one: %d bytes, %v", len(b), err)
	}
}
