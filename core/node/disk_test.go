package node

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/zkcore/zkcore/core/proto"
	"github.com/zkcore/zkcore/core/vfs"
	"github.com/zkcore/zkcore/plugins/consensus"
)

// TestDiskErrors fails each operation on the disk in turn: none is passed over,
// whatever it was for.
func TestDiskErrors(t *testing.T) {
	for n := 0; ; n++ {
		mem := vfs.NewMem()
		if err := mem.MkdirAll("/data"); err != nil {
			t.Fatal(err)
		}
		var hit atomic.Pointer[vfs.Op]
		fs := vfs.NewErrors(mem, func(op vfs.Op) error {
			if op.N != n {
				return nil
			}
			hit.Store(&op)
			return errDisk
		})
		if err := run(t, fs); err == nil {
			op := hit.Load()
			if op != nil && op.Kind == "close" && (strings.HasPrefix(filepath.Base(op.Name), "snapshot.") || filepath.Base(op.Name) == idsFile) {
				continue // of a file that was only read: that says nothing about the disk
			}
			if op != nil {
				t.Errorf("operation %d, %s %s, fails and nobody says so", n, op.Kind, op.Name)
				continue
			}
			if n < 20 {
				t.Fatalf("%d operations only", n)
			}
			return
		} else if !errors.Is(err, errDisk) {
			t.Fatalf("operation %d: %v", n, err)
		}
	}
}

// run starts a node twice on fs, with snapshots and purges. It returns what Start
// returns or the node fails with, or what it warns of.
func run(t *testing.T, fs vfs.FS) error {
	failed := make(chan error, 10)
	for range 2 {
		var m *fakeMember
		n, err := Start(t.Context(), Config{
			ServerID: 1, DataDir: "/data", ClientAddrs: []string{"127.0.0.1:0"}, OpenStorage: openMapStore,
			OpenConsensus: opener(&m, consensus.Leading, false), FS: fs, SnapCount: 4, PurgeInterval: time.Hour, SnapRetain: 3,
			Log: slog.New(slog.NewTextHandler(warnings{failed}, &slog.HandlerOptions{Level: slog.LevelWarn})),
			Fail: func(code int, err error) {
				if code == 0 {
					t.Errorf("exit code 0 for %v", err)
				}
				failed <- err
			},
		})
		if err != nil {
			return err
		}
		r := &rig{t: t, n: n, m: m}
		r.until("serving", n.Serving)
		// A node that has failed by now answers nobody: its answer is not waited for.
		p := r.dial()
		p.sendConnect(&proto.ConnectRequest{TimeoutMS: sessionMS, Passwd: make([]byte, 16), HasReadOnly: true})
		before := n.Info().LastSnapshot
		p.c.SetReadDeadline(time.Time{})
		read := make(chan struct{})
		go func() { io.Copy(io.Discard, p.c); close(read) }()
		for i := 0; len(failed) == 0 && (i < 40 || n.Info().LastSnapshot == before); i++ {
			p.write(p.request(proto.OpCreate, create(fmt.Sprintf("/n-%d-", i), proto.FlagPersistentSequential)))
			time.Sleep(200 * time.Microsecond)
		}
		cerr := n.Close()
		<-read
		select {
		case err := <-failed:
			return err
		default:
		}
		if cerr != nil {
			return cerr
		}
	}
	return nil
}

// warnings takes a disk's trouble out of log lines.
type warnings struct{ c chan error }

func (w warnings) Write(b []byte) (int, error) {
	if strings.Contains(string(b), "the disk is broken") {
		select {
		case w.c <- fmt.Errorf("%s: %w", b, errDisk):
		default:
		}
	}
	return len(b), nil
}

var errDisk = errors.New("the disk is broken")
