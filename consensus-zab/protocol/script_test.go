package protocol

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/zkcore/zkcore/core/quorum"
	"github.com/zkcore/zkcore/plugins/consensus"
)

var rewrite = flag.Bool("rewrite", false, "write the outputs of testdata/scripts anew")

// TestScripts runs the scripts in testdata/scripts: stories of an ensemble, most of them
// of a bug that others had. A script is commands, a line "----", what they say, an empty
// line, and so on. Whatever a command says, the checks of the simulated world hold.
//
//	ensemble 3 [observers=1] [log=40]   a new one; log: txns that stay in memory
//	start 1 2 …                         from what is on their disks
//	crash 1 [keep=2]                    the power fails: of what was not synced so many txns are kept
//	stick 1, free 1                     the disk finishes nothing; and again does
//	cut 1 2, heal                       nothing passes between them; and again does
//	hold 3->1 NEWLEADER, release        what passes stops before one of these; and goes on
//	sleep 3 2500                        the process stands still for so many ms
//	vote 1 2 3                          wait until one of these leads the others
//	propose 2                           the leader's node proposes so many
//	forward 1 2                         server 1's node forwards so many requests
//	sync 1                              server 1's node asks what is committed
//	snapshot 1                          server 1's node takes one, and drops what the log has below
//	run 500                             time passes, ms
//	stabilize                           all trouble ends, all are started, and come together
//	show                                what each has
func TestScripts(t *testing.T) {
	files, err := filepath.Glob("testdata/scripts/*.txt")
	if err != nil || len(files) < 8 {
		t.Fatalf("%d scripts, %v", len(files), err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txt"), func(t *testing.T) { runScript(t, file) })
	}
}

func runScript(t *testing.T, file string) {
	raw, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var again strings.Builder
	s := &script{t: t}
	line := 0
	var commands, want []string
	inOutput := false
	flush := func() {
		if len(commands) == 0 {
			return
		}
		var got []string
		for _, c := range commands {
			again.WriteString(c + "\n")
			if c = strings.TrimSpace(c); c != "" && c[0] != '#' {
				got = append(got, s.do(c)...)
			}
			if s.w != nil && s.w.failed {
				trace := s.w.trace.String()
				t.Fatalf("%s:%d: %s\n%s", file, line, c, trace[max(0, len(trace)-4000):])
			}
		}
		if inOutput {
			again.WriteString("----\n")
			for _, g := range got {
				again.WriteString(g + "\n")
			}
			again.WriteString("\n")
			if !*rewrite && !slices.Equal(got, want) {
				t.Fatalf("%s:%d: it says\n%s\nwant\n%s\n%s", file, line, strings.Join(got, "\n"), strings.Join(want, "\n"), s.w.trace)
			}
		}
		commands, want, inOutput = nil, nil, false
	}
	for l := range strings.Lines(string(raw)) {
		line++
		l = strings.TrimRight(l, "\n")
		switch {
		case inOutput && l == "":
			flush()
		case inOutput:
			want = append(want, l)
		case l == "----":
			inOutput = true
		default:
			commands = append(commands, l)
		}
	}
	flush()
	if *rewrite {
		if err := os.WriteFile(file, []byte(strings.TrimRight(again.String(), "\n")+"\n"), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

type script struct {
	t *testing.T
	w *world
}

// do carries out a command and returns what it says.
func (s *script) do(command string) (out []string) {
	s.t.Helper()
	w := s.w
	f := strings.Fields(command)
	opts := map[string]int{}
	var args []string
	for _, a := range f[1:] {
		if k, v, ok := strings.Cut(a, "="); ok {
			opts[k] = s.number(v)
		} else {
			args = append(args, a)
		}
	}
	server := func(i int) *server { return w.all[s.number(args[i])-1] }
	switch f[0] {
	case "ensemble":
		s.w = newWorld(s.t, 1, s.number(args[0]), opts["observers"])
		for _, x := range s.w.all {
			x.cfg.ForceSnapshot, x.cfg.CommitLogCount = false, 40
			if n, ok := opts["log"]; ok {
				x.cfg.CommitLogCount = n
			}
		}
	case "start":
		for i := range args {
			server(i).restart()
		}
	case "crash":
		server(0).crashKeeping(opts["keep"])
	case "stick":
		server(0).stuck = true
	case "free":
		server(0).stuck = false
	case "cut":
		a, b := server(0).id, server(1).id
		w.cut[[2]ServerID{a, b}], w.cut[[2]ServerID{b, a}] = true, true
	case "heal":
		clear(w.cut)
	case "hold":
		from, to, _ := strings.Cut(args[0], "->")
		for t := quorum.TypeRequest; t <= quorum.TypeInformAndActivate; t++ {
			if t.String() == args[1] {
				w.hold[[2]ServerID{ServerID(s.number(from)), ServerID(s.number(to))}] = t
				return nil
			}
		}
		s.t.Fatalf("%s: no such packet", command)
	case "release":
		clear(w.hold)
	case "sleep":
		server(0).wake = w.now + Time(s.number(args[1]))*Millisecond
	case "vote":
		for range 600 {
			if l := s.leader(); l != nil && slices.Contains(args, fmt.Sprint(l.id)) {
				ready := true
				for i := range args {
					ready = ready && server(i).role.Leader == l.id
				}
				if ready {
					return []string{fmt.Sprintf("%d leads in epoch %d", l.id, l.role.Epoch)}
				}
			}
			w.run(100 * Millisecond)
			if w.failed {
				return nil
			}
		}
		s.t.Fatalf("%s: nobody leads them\n%s", command, w.trace)
	case "propose":
		l := s.leader()
		if l == nil {
			s.t.Fatalf("%s: nobody leads\n%s", command, w.trace)
		}
		l.propose(s.number(args[0]))
	case "forward":
		server(0).forward(s.number(args[1]))
	case "sync":
		x := server(0)
		x.nextSync++
		x.syncs[x.nextSync] = len(w.global)
		x.m.Sync(w.now, x.role.Term, x.nextSync)
		x.work()
	case "snapshot":
		server(0).checkpointKeeping(func() Zxid { return 0 })
	case "run":
		w.run(Time(s.number(args[0])) * Millisecond)
	case "stabilize":
		clear(w.cut)
		clear(w.hold)
		for _, x := range w.all {
			x.stuck, x.wake = false, 0
			x.restart()
		}
		w.run(15000 * Millisecond)
		before := w.acked
		if l := s.leader(); l != nil {
			l.propose(1)
		}
		w.run(1000 * Millisecond)
		if w.acked == before {
			w.fail("nothing is committed in peace")
		}
		for _, x := range w.all {
			if x.role.State == consensus.Looking || x.state.n != len(w.global) {
				w.fail("server %d is %v and has %d of %d in peace", x.id, x.role.State, x.state.n, len(w.global))
			}
		}
		return []string{fmt.Sprintf("all have %s", zxid(w.global[len(w.global)-1].zxid))}
	case "show":
		for _, x := range w.all {
			out = append(out, x.show())
		}
	default:
		s.t.Fatalf("%s: no such command", command)
	}
	return out
}

func (s *script) number(a string) int {
	n, err := strconv.Atoi(a)
	if err != nil {
		s.t.Helper()
		s.t.Fatal(err)
	}
	return n
}

func (s *script) leader() (l *server) {
	for _, x := range s.w.all {
		if x.up && x.role.State == consensus.Leading && (l == nil || x.role.Epoch > l.role.Epoch) {
			l = x
		}
	}
	return l
}

func zxid(z Zxid) string { return fmt.Sprintf("%d:%d", z.Epoch(), z.Counter()) }

// show says what a server is and has: on its disk, and in its node.
func (s *server) show() string {
	log := "empty"
	if n := len(s.log); n > 0 {
		log = zxid(s.log[0].Zxid) + ".." + zxid(s.log[n-1].Zxid)
	}
	if !s.up {
		return fmt.Sprintf("%d down, log %s, epochs %d %d", s.id, log, s.accepted, s.current)
	}
	return fmt.Sprintf("%d %v, log %s, epochs %d %d, node at %s", s.id, s.role.State, log, s.accepted, s.current, zxid(s.state.zxid))
}
