//go:build failpoints

package failpoint

import (
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

// On says whether this program can be stopped at its failpoints.
const On = true

var (
	armed atomic.Bool // there are rules
	mu    sync.Mutex
	rules []*rule
)

type rule struct {
	action, point string
	n             int // what is left for kill and fail, the milliseconds of sleep
}

func (r *rule) matches(p string) bool {
	if begin, ok := strings.CutSuffix(r.point, "*"); ok {
		return strings.HasPrefix(p, begin)
	}
	return r.point == p
}

func init() {
	if command := os.Getenv(EnvAtStart); command != "" {
		must(obey(command))
		must(os.Unsetenv(EnvAtStart)) // a server that begins anew in its process starts no more
	}
	path := os.Getenv(Env)
	if path == "" {
		return
	}
	if err := os.Remove(path); err != nil && !os.IsNotExist(err) {
		must(err)
	}
	ln, err := net.Listen("unix", path)
	must(err)
	go func() {
		for {
			c, err := ln.Accept()
			must(err)
			go serve(c)
		}
	}()
}

// serve takes one command. Who sends it waits for the answer: then it is in force.
func serve(c net.Conn) {
	defer c.Close()
	b, err := io.ReadAll(io.LimitReader(c, 1024))
	if err != nil {
		return // who sent it is gone, or waits no longer: this process was stopped
	}
	must(obey(string(b)))
	_, _ = io.WriteString(c, "ok") // the same
}

// must ends a program whose test has lost its way.
func must(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, "failpoint:", err)
		os.Exit(3)
	}
}

func obey(command string) error {
	mu.Lock()
	defer mu.Unlock()
	if command == "off" {
		rules = nil
		armed.Store(false)
		return nil
	}
	r := new(rule)
	if n, err := fmt.Sscan(command, &r.action, &r.point, &r.n); n != 3 {
		return fmt.Errorf("command %q: %v", command, err)
	}
	switch r.action {
	case "kill", "sleep", "fail":
	default:
		return fmt.Errorf("command %q", command)
	}
	rules = append(rules, r)
	armed.Store(true)
	return nil
}

// Hit says that the program is at p.
func Hit(p Point) {
	if !armed.Load() {
		return
	}
	if wait := at(string(p)); wait > 0 {
		time.Sleep(wait)
	}
}

// Err says that the program is about to do something to a file, and whether that fails.
func Err(p Point) error {
	if !armed.Load() {
		return nil
	}
	mu.Lock()
	for _, r := range rules {
		if r.action != "fail" || !r.matches(string(p)) {
			continue
		}
		if r.n--; r.n == 0 {
			mu.Unlock()
			return syscall.EIO
		}
	}
	mu.Unlock()
	Hit(p)
	return nil
}

func at(p string) (wait time.Duration) {
	mu.Lock()
	defer mu.Unlock()
	for _, r := range rules {
		switch {
		case !r.matches(p):
		case r.action == "sleep":
			wait += time.Duration(r.n) * time.Millisecond
		case r.action == "kill":
			if r.n--; r.n == 0 {
				fmt.Fprintln(os.Stderr, "failpoint: killed at", p)
				_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
				select {} // the signal is on its way; nothing more is done
			}
		}
	}
	return wait
}
