package main

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/zkcore/zkcore/core/node"
	"github.com/zkcore/zkcore/plugins/consensus"
	"github.com/zkcore/zkcore/plugins/process"
)

// A supervisor deals with the death of a module's process. What the module has done last
// nobody knows, and half of the node waits for it: so it is the same as a crash of the node.
// The process serves nobody any more, sees its modules dead, and becomes a new one, in its
// own place and under its own number, that begins with what is on disk (decision 30). What
// it knows of the crashes before comes with it, as a flag.
type supervisor struct {
	log     *slog.Logger
	max     int
	crashes int // of modules, before this process
	began   time.Time
	running process.Running
	node    atomic.Pointer[node.Node]
	once    sync.Once

	stopping atomic.Bool
	stage    atomic.Int32

	// Of tests.
	exec func(crashes int) error
	exit func(code int)
}

// The stages of a supervisor's server.
const (
	starts int32 = iota
	serves
	givenUp // a signal came while it started
)

// crashesFlag carries the number of crashes to the next process. It is for nobody else.
const crashesFlag = "module-crashes"

// forgotten is how long modules must have run for their crashes to count no more.
const forgotten = 10 * time.Minute

// leastSilence is how long a server must have run for a module to have heard nothing of it.
const leastSilence = 2 * time.Second

// The first restart comes at once, or nearly so; the wait doubles up to the last.
const (
	firstWait = 100 * time.Millisecond
	lastWait  = 10 * time.Second
)

func newSupervisor(log *slog.Logger, max, crashes int) *supervisor {
	return &supervisor{log: log, max: max, crashes: crashes, began: time.Now(), exec: become, exit: os.Exit}
}

// wait waits before the modules are started again. Nobody is served meanwhile.
func (s *supervisor) wait(ctx context.Context) error {
	if s.crashes == 0 {
		return nil
	}
	t := time.NewTimer(waitAfter(s.crashes))
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func waitAfter(crashes int) time.Duration {
	return min(firstWait<<min(crashes-1, 30), lastWait)
}

// up says that the server has started.
func (s *supervisor) up(n *node.Node) {
	s.node.Store(n)
	s.stage.CompareAndSwap(starts, serves)
}

// stop is told that a signal asks for the end. A server that still starts may wait for a module as long as that likes, and
// the module's death would begin it anew without a memory of the signal: so its modules are killed now, which is no more
// than a crash, and serve nobody.
func (s *supervisor) stop() {
	s.stopping.Store(true)
	if s.stage.CompareAndSwap(starts, givenUp) {
		s.running.Kill()
	}
}

// died takes the node out of service and does not return. Whoever has called the module waits
// here with it.
func (s *supervisor) died(d *process.Died) {
	s.once.Do(func() { s.restart(d) })
	select {}
}

func (s *supervisor) restart(d *process.Died) {
	if n := s.node.Load(); n != nil {
		n.Cut()
	}
	ran := time.Since(s.began)
	crashes := s.crashes + 1
	if ran > forgotten {
		crashes = 1
	}
	// That this process stood still is no fault of a module. One that says so at once is a fault.
	stood := d.Silence && d.Code == 0 && ran > leastSilence
	if stood {
		crashes--
	}
	switch {
	case d.Code != 0:
		s.log.Error("stopping at once: a module can't go on", "module", d.Module, "error", d.Err, "exit", d.Code)
		s.exit(d.Code)
	case s.stage.Load() == givenUp:
		s.log.Info("stopped: a signal asks for it")
		s.exit(0)
	case s.stopping.Load():
		s.log.Error("stopped, but not in order: a module's process is gone", "module", d.Module, "error", d.Err, "exit", consensus.ExitModule)
		s.exit(consensus.ExitModule)
	case crashes > s.max:
		s.log.Error("stopping: a module's process is gone, and has been too often", "module", d.Module, "error", d.Err, "crashes", crashes,
			"zkcore.plugin.maxCrashes", s.max, "exit", consensus.ExitModule)
		s.exit(consensus.ExitModule)
	}
	if stood {
		s.log.Error("this server stood still, and its module has ended: serving nobody until it runs again and the state is read from disk",
			"module", d.Module, "error", d.Err, "crashes", crashes)
	} else {
		s.log.Error("a module's process is gone: serving nobody until it runs again and the state is read from disk", "module", d.Module, "error", d.Err,
			"crashes", crashes, "again", waitAfter(crashes))
	}
	s.running.Kill()
	if s.stopping.Load() {
		s.log.Error("stopped, but not in order: the signal came after that", "exit", consensus.ExitModule)
		s.exit(consensus.ExitModule)
	}
	if err := s.exec(crashes); err != nil {
		s.log.Error("stopping: the server can't start itself again", "error", err, "exit", consensus.ExitModule)
		s.exit(consensus.ExitModule)
	}
}

// become makes this process a new one of the same program, with the same arguments. Its files,
// connections and locks are closed by that.
func become(crashes int) error {
	path, err := os.Executable()
	if err != nil {
		return err
	}
	flag := "--" + crashesFlag + "="
	args := os.Args[:1:1]
	args = append(args, flag+strconv.Itoa(crashes))
	for _, a := range os.Args[1:] {
		if !strings.HasPrefix(a, flag) {
			args = append(args, a)
		}
	}
	if err := syscall.Exec(path, args, os.Environ()); err != nil {
		return fmt.Errorf("start %s: %w", path, err)
	}
	return nil
}
