package main

import (
	"context"
	"fmt"
	"strings"
	"syscall"
	"time"
)

// far is behind a choice of modules that run as processes of their own.
const far = ":processes"

// allChoices are the modules that come with zkcore, in all ways to run them.
var allChoices = []string{
	"zab+mem", "zab+bolt", "raft+mem", "raft+bolt",
	"zab+mem" + far, "zab+bolt" + far, "raft+mem" + far, "raft+bolt" + far,
}

// matrixTargets are zkcore with each choice of modules, such as raft+bolt or zab+mem:processes.
func matrixTargets(bin string, args, choices []string) ([]target, error) {
	if len(choices) == 1 && choices[0] == "all" {
		choices = allChoices
	}
	var ts []target
	for _, choice := range choices {
		pair, apart := strings.CutSuffix(choice, far)
		consensus, storage, ok := strings.Cut(pair, "+")
		if !ok || consensus == "" || storage == "" {
			return nil, fmt.Errorf("-modules: %q is no choice such as raft+bolt or zab+mem%s, nor all", choice, far)
		}
		which := ""
		if apart {
			which = "both"
		}
		t, err := moduleTarget(bin, args, consensus, storage, which)
		if err != nil {
			return nil, fmt.Errorf("-modules: %s: %w", choice, err)
		}
		t.name = choice
		ts = append(ts, t)
	}
	return ts, nil
}

// An opening is how long servers with many znodes take to begin: from just before the process is made to the first
// session.
type opening struct {
	Clean  float64 `json:"after_a_clean_stop_ms"`
	Killed float64 `json:"after_kill_9_ms"`
}

// killedAfter is how long clients write before the server is killed.
const killedAfter = 2 * time.Second

// openings stops a server that holds many znodes, starts it again, writes, kills it, and starts it again. The server
// runs when it returns.
func (p *plan) openings(ctx context.Context, cl *cluster) (o opening, err error) {
	if err := cl.procs[0].terminate(); err != nil {
		return o, err
	}
	if o.Clean, err = cl.timeStart(ctx); err != nil {
		return o, fmt.Errorf("start after a clean stop: %w", err)
	}
	l := load{
		Workload: "set", Servers: cl.servers, Connections: p.Connections, Outstanding: p.Outstanding, Size: p.Size,
		Znodes: p.Znodes, Duration: killedAfter, Keep: true, SessionTimeout: 30 * time.Second,
	}
	if _, err := l.do(ctx); err != nil {
		return o, err
	}
	cl.procs[0].kill()
	if o.Killed, err = cl.timeStart(ctx); err != nil {
		return o, fmt.Errorf("start after kill -9: %w", err)
	}
	return o, nil
}

// terminate asks a process to end and waits until it has.
func (p *process) terminate() error {
	if err := syscall.Kill(p.pid(), syscall.SIGTERM); err != nil {
		return fmt.Errorf("terminate %s: %w", p.cmd.Path, err)
	}
	select {
	case <-p.exited:
		return nil
	case <-time.After(2 * time.Minute):
		return fmt.Errorf("%s: still there two minutes after SIGTERM", p.cmd.Path)
	}
}
