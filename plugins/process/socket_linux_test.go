package process

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/zkcore/zkcore/plugins/storage"
)

// TestSocketsAreTheMembers: what a member's frames travel on, the node's other modules don't have.
func TestSocketsAreTheMembers(t *testing.T) {
	sockets := func(pid int) map[string]bool {
		fds, err := filepath.Glob(fmt.Sprintf("/proc/%d/fd/*", pid))
		if err != nil {
			t.Fatal(err)
		}
		out := map[string]bool{}
		for _, fd := range fds {
			// One that is closed meanwhile is none.
			if name, err := os.Readlink(fd); err == nil && strings.HasPrefix(name, "socket:") {
				out[name] = true
			}
		}
		return out
	}
	first := openMemberOf(t, as(t, "member"), newFakeNode(), nil).(*member)
	s := open(t, as(t, "store"), storage.Config{}).(*store)
	second := openMemberOf(t, as(t, "member"), newFakeNode(), nil).(*member)
	pids := []int{first.m.child.cmd.Process.Pid, s.m.child.cmd.Process.Pid, second.m.child.cmd.Process.Pid}
	for i, pid := range pids {
		mine := sockets(pid)
		if i != 1 && len(mine) < socketCount {
			t.Errorf("a member has %v", mine)
		}
		for _, other := range pids[:i] {
			for name := range sockets(other) {
				if mine[name] {
					t.Errorf("two modules have %s", name)
				}
			}
		}
	}
}

// TestDescriptorsAreNotHandedDown: what the server was started with is not the modules'.
func TestDescriptorsAreNotHandedDown(t *testing.T) {
	var pipe [2]int
	if err := syscall.Pipe(pipe[:]); err != nil { // as a shell leaves them open
		t.Fatal(err)
	}
	defer syscall.Close(pipe[0])
	defer syscall.Close(pipe[1])
	name, err := os.Readlink(fmt.Sprintf("/proc/self/fd/%d", pipe[1]))
	if err != nil {
		t.Fatal(err)
	}
	s := open(t, as(t, "store"), storage.Config{}).(*store)
	fds, err := filepath.Glob(fmt.Sprintf("/proc/%d/fd/*", s.m.child.cmd.Process.Pid))
	if err != nil || len(fds) == 0 {
		t.Fatal(fds, err)
	}
	for _, fd := range fds {
		if has, err := os.Readlink(fd); err == nil && has == name {
			t.Errorf("the module has %s as %s", name, fd)
		}
	}
}
