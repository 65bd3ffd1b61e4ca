package harness

import (
	"bytes"
	"cmp"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/zkcore/zkcore/plugins"
	module "github.com/zkcore/zkcore/plugins/process"
)

// A program is a module's, built for this test process.
type program struct {
	path, sum string
	err       error
}

var programs struct {
	sync.Mutex
	made map[string]*program
}

// Module returns the program of a module, built from this checkout the first time that the test
// process asks for it, and its checksum.
func Module(t testing.TB, kind, name string) (path, sha256 string) {
	t.Helper()
	file := plugins.FileName(kind, name)
	programs.Lock()
	defer programs.Unlock()
	p := programs.made[file]
	if p == nil {
		p = new(program)
		if p.path, p.err = compileProgram(file); p.err == nil {
			p.sum, p.err = module.Sum(p.path)
		}
		if programs.made == nil {
			programs.made = map[string]*program{}
		}
		programs.made[file] = p
	}
	if p.err != nil {
		t.Fatal(p.err)
	}
	return p.path, p.sum
}

// modules are the lines of zoo.cfg that choose the modules.
func modules(t testing.TB, opt Options) map[string]string {
	t.Helper()
	cfg := map[string]string{}
	ordering := os.Getenv("ZKCORE_TEST_CONSENSUS")
	if len(opt.Apache) > 0 && strings.TrimPrefix(ordering, "process:") != "zab" {
		ordering = "" // nothing else understands Apache's servers
	}
	for kind, value := range map[string]string{
		plugins.KindConsensus: cmp.Or(opt.Consensus, ordering),
		plugins.KindStorage:   cmp.Or(opt.Storage, os.Getenv("ZKCORE_TEST_STORAGE")),
	} {
		if value == "" {
			continue
		}
		name, ok := strings.CutPrefix(value, "process:")
		if ok {
			path, sum := Module(t, kind, name)
			value, cfg["zkcore.plugin."+name+".sha256"] = path, sum
		}
		cfg[kind] = value
	}
	return cfg
}

// ModulesAsProcesses says whether the environment wants a module in a process of its own.
func ModulesAsProcesses() bool {
	return strings.HasPrefix(os.Getenv("ZKCORE_TEST_CONSENSUS"), "process:") || strings.HasPrefix(os.Getenv("ZKCORE_TEST_STORAGE"), "process:")
}

// StoreSurvives says whether the servers have a store that keeps the tree over a restart, by the
// environment's wish: then no snapshot is read at the start.
func StoreSurvives() bool {
	return strings.TrimPrefix(os.Getenv("ZKCORE_TEST_STORAGE"), "process:") == "bolt"
}

// Modules are the processes of a server's modules, by their kinds: those that are there now.
func (s *Server) Modules() (map[string]int, error) {
	out := map[string]int{}
	stats, err := filepath.Glob("/proc/[0-9]*/stat")
	if err != nil {
		return nil, err
	}
	for _, name := range stats {
		raw, err := os.ReadFile(name)
		if err != nil {
			continue // it is gone
		}
		fields := strings.Fields(string(raw[bytes.LastIndexByte(raw, ')')+1:]))
		if len(fields) < 2 || fields[1] != strconv.Itoa(s.Pid()) || fields[0] == "Z" {
			continue
		}
		cmdline, err := os.ReadFile(filepath.Join(filepath.Dir(name), "cmdline"))
		if err != nil {
			continue
		}
		pid, err := strconv.Atoi(filepath.Base(filepath.Dir(name)))
		if err != nil {
			return nil, err
		}
		for _, kind := range []string{plugins.KindConsensus, plugins.KindStorage} {
			if strings.Contains(string(cmdline), plugins.FileName(kind, "")) {
				out[kind] = pid
			}
		}
	}
	return out, nil
}

// Freeze stops a server and the processes of its modules: all of it stands still. SIGSTOP by Signal
// stops the server alone, and its modules go on for a while. What is frozen is killed in the end.
func (s *Server) Freeze() {
	s.t.Helper()
	s.Signal(syscall.SIGSTOP)
	pids, err := s.Modules()
	if err != nil {
		s.t.Fatal(err)
	}
	for _, pid := range pids {
		if err := syscall.Kill(pid, syscall.SIGSTOP); err != nil {
			s.t.Fatal(err)
		}
		s.awaitStopped(pid)
	}
}
