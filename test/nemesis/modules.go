package nemesis

import (
	"errors"
	"math/rand/v2"
	"slices"
	"syscall"

	"github.com/zkcore/zkcore/test/harness"
)

// hurtModule ends or stops the process of one of a server's modules. The server begins anew in its
// own process, and must not end.
func (n *nemesis) hurtModule(rng *rand.Rand, s Step, victim *harness.Server, strike func(string, ...any), healed func()) {
	modules, err := victim.Modules()
	n.check(err)
	var kinds []string
	for kind := range modules {
		kinds = append(kinds, kind)
	}
	if len(kinds) == 0 {
		n.passed++ // it is just beginning
		return
	}
	slices.Sort(kinds)
	kind := kinds[rng.IntN(len(kinds))]
	pid := modules[kind]
	sig := syscall.SIGKILL
	if s.Kind == moduleStopped {
		sig = syscall.SIGSTOP
	}
	strike(": %s, process %d", kind, pid)
	n.busy[victim.ID] = s.Kind
	if err := syscall.Kill(pid, sig); err != nil && !errors.Is(err, syscall.ESRCH) {
		n.check(err)
	}
	n.later(s.For, s.Kind, func() {
		healed()
		if now, err := victim.Modules(); sig == syscall.SIGSTOP && err == nil && now[kind] == pid {
			if err := syscall.Kill(pid, syscall.SIGCONT); err != nil && !errors.Is(err, syscall.ESRCH) {
				n.check(err)
			}
		}
		delete(n.busy, victim.ID)
	})
}
