package process

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"testing"
)

// numberKey is the variable that makes the test's program start a module out of a file with that number.
const numberKey = "ZKCORE_TEST_NUMBER"

// startAs starts a member out of a file that has the number n, in a process in which nobody else needs it.
func startAs(n string) int {
	number, err := strconv.Atoi(n)
	if err != nil {
		fmt.Println(err)
		return 1
	}
	path, err := os.Executable()
	if err != nil {
		fmt.Println(err)
		return 1
	}
	f, err := os.Open(path)
	if err != nil {
		fmt.Println(err)
		return 1
	}
	if link, err := os.Readlink(fmt.Sprintf("/proc/self/fd/%d", number)); err == nil && strings.HasPrefix(link, "anon_inode:") {
		fmt.Println("the runtime has it")
		return 0
	}
	if int(f.Fd()) != number {
		if err := syscall.Dup3(int(f.Fd()), number, syscall.O_CLOEXEC); err != nil {
			fmt.Println(err)
			return 1
		}
		f = os.NewFile(uintptr(number), path)
	}
	ours, theirs, err := socketPair(1 << 20)
	if err != nil {
		fmt.Println(err)
		return 1
	}
	defer ours.close()
	c := &child{cmd: &exec.Cmd{Env: []string{handshake.MagicCookieKey + "=" + handshake.MagicCookieValue}}, file: f, sockets: theirs, path: path,
		args: []string{"silent"}, log: newLogReader(nil, nil), done: make(chan struct{}), late: patience}
	if err := c.Start(context.Background()); err != nil {
		fmt.Println(err)
		return 1
	}
	<-c.done
	if c.err != nil {
		fmt.Println(c.err)
		return 1
	}
	fmt.Println("started")
	return 0
}

// TestNumberOfTheFile: a module is started whatever number the file has that was checked. That of zkcore plugin verify had one
// of those which a member's process gets as its sockets, and so these were to be started.
func TestNumberOfTheFile(t *testing.T) {
	path, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	started := 0
	for n := 3; n < 16; n++ {
		cmd := exec.Command(path)
		cmd.Env = append(os.Environ(), fmt.Sprintf("%s=%d", numberKey, n))
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Errorf("number %d: %v: %s", n, err, out)
		}
		if strings.Contains(string(out), "started") {
			started++
		}
	}
	if started < 8 {
		t.Errorf("only %d of 13 numbers were free", started)
	}
}
