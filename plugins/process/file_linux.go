package process

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"syscall"
)

// opened is a name under which f itself, not what its path means by now, can be opened and
// started.
func opened(f *os.File) string {
	name := fmt.Sprintf("/proc/self/fd/%d", f.Fd())
	if _, err := os.Stat(name); err != nil {
		return f.Name() // there is no /proc here
	}
	return name
}

// apart is f under a number that is above those of what a process is started with, and is closed when it is.
// A process gets these as its descriptors from 0 on, on the way to which they are put on numbers up to a few above
// their own: whatever else has such a number is gone then, and with it the name of what is to be started.
func apart(f *os.File, with []*os.File) (*os.File, error) {
	above := f.Fd()
	for _, w := range with {
		above = max(above, w.Fd())
	}
	above += 2 * uintptr(len(with)+1)
	fd, _, errno := syscall.Syscall(syscall.SYS_FCNTL, f.Fd(), syscall.F_DUPFD_CLOEXEC, above)
	if errno != 0 {
		return nil, os.NewSyscallError("fcntl", errno)
	}
	return os.NewFile(fd, f.Name()), nil
}

// keepOwn makes all descriptors of this process its own: those that it was started with, and that it knows nothing of, are
// not handed down to a module.
func keepOwn() {
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		return // there is no /proc here
	}
	for _, e := range entries {
		if fd, err := strconv.Atoi(e.Name()); err == nil && fd > 2 {
			syscall.CloseOnExec(fd)
		}
	}
}

// nameProcess shows a module under the name of its program: what was started had no name.
func nameProcess() {
	// Nothing depends on it.
	_ = os.WriteFile("/proc/self/comm", []byte(filepath.Base(os.Args[0])), 0)
}
