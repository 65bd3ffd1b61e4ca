package bolt

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/zkcore/zkcore/plugins/storage"
	"github.com/zkcore/zkcore/plugins/storage/behind"
)

// TestFullDisk: a store whose disk is full says so once, and with the system's own error, by
// which the node knows what to end with. It has lost nothing of what was durable, opens again
// while the disk is still full, and goes on as soon as there is space. The disk is one of two
// megabytes, which only a process in name spaces of its own may have.
func TestFullDisk(t *testing.T) {
	if dir := os.Getenv("ZKCORE_TEST_FULL_DISK"); dir != "" {
		fullDisk(t, dir)
		return
	}
	cmd := exec.Command(os.Args[0], "-test.run=^TestFullDisk$", "-test.v")
	cmd.Env = append(os.Environ(), "ZKCORE_TEST_FULL_DISK="+t.TempDir())
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags:  syscall.CLONE_NEWUSER | syscall.CLONE_NEWNS,
		UidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getuid(), Size: 1}},
		GidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getgid(), Size: 1}},
	}
	if out, err := cmd.CombinedOutput(); err != nil || !strings.Contains(string(out), "--- PASS: TestFullDisk") {
		t.Fatalf("%v\n%s", err, out)
	}
}

func fullDisk(t *testing.T, dir string) {
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "size=2m"); err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := syscall.Unmount(dir, 0); err != nil {
			t.Error(err)
		}
	}()
	rnd := rand.New(rand.NewPCG(8, 1))
	store := filepath.Join(dir, "store")
	var told []error
	open := func() *behind.Store {
		told = nil
		s, err := Open(storage.Config{Dir: store, Options: map[string]string{"flushIntervalMs": "-1", "gatherRecords": "20"},
			Fail: func(err error) { told = append(told, err) }})
		if err != nil {
			t.Fatal(err)
		}
		return s.(*behind.Store)
	}
	s := open()
	want := map[int64]*state{} // what it held, by the zxid
	now := newState()
	root := &storage.Batch{Zxid: 1}
	root.Put("/", noise(rnd, 84), nil)
	commit := func(b *storage.Batch) error {
		err := s.Commit(b)
		if err == nil {
			now = now.clone()
			now.commit(b)
			want[b.Zxid] = now
		}
		return err
	}
	if err := commit(root); err != nil {
		t.Fatal(err)
	}
	fill := func() (err error) {
		for i := int64(0); i < 3000 && err == nil; i++ {
			b := &storage.Batch{Zxid: now.applied + 1}
			b.Put(fmt.Sprintf("/n%06d", b.Zxid), noise(rnd, 84), noise(rnd, 900))
			err = commit(b)
		}
		return err
	}
	err := fill()
	if !errors.Is(err, syscall.ENOSPC) {
		t.Fatalf("with a full disk Commit returns %v", err)
	}
	if len(told) != 1 || !errors.Is(told[0], syscall.ENOSPC) {
		t.Errorf("Fail is told %v", told)
	}
	if err := s.Commit(&storage.Batch{Zxid: now.applied + 1}); !errors.Is(err, syscall.ENOSPC) {
		t.Errorf("and then: %v", err)
	}
	// What is there can be read until its process ends.
	mustHold(t, s, now)
	durable := s.Durable()
	behind.Crash(s)

	// Still full: it opens, with what it had, and can't take more.
	s = open()
	if s.Applied() != durable || durable == 0 {
		t.Fatalf("it was durable up to %d, and is opened at %d", durable, s.Applied())
	}
	now = want[durable]
	mustHold(t, s, now)
	if err := fill(); !errors.Is(err, syscall.ENOSPC) {
		t.Errorf("still full: %v", err)
	}
	behind.Crash(s)
	if err := Check(storage.Config{Dir: store}); err != nil {
		t.Error(err)
	}

	if err := syscall.Mount("tmpfs", dir, "tmpfs", syscall.MS_REMOUNT, "size=64m"); err != nil {
		t.Fatal(err)
	}
	s = open()
	now = want[s.Applied()]
	mustHold(t, s, now)
	if err := fill(); err != nil {
		t.Fatalf("with space again: %v", err)
	}
	mustHold(t, s, now)
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	if len(told) != 0 {
		t.Errorf("Fail is told %v", told)
	}
	if err := Check(storage.Config{Dir: store}); err != nil {
		t.Error(err)
	}
}
