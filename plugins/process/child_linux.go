package process

import (
	"syscall"
	"time"
)

// attributes make a module end with its node, even if that is killed, and keep the terminal's
// signals from it.
func attributes() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
}

// slack is by how much a timer of a module may be late. The Go runtime looks every 20 µs what its
// threads do, as long as one is in a system call, and a consensus module is in fdatasync most of its
// time: with the system's 50 µs that was a quarter of the processor time that it took. Its own timers
// count milliseconds.
const slack = 200 * time.Microsecond

// relax gives the calling thread, and the processes that it starts, that slack.
func relax() {
	// Nothing depends on it.
	_, _, _ = syscall.RawSyscall(syscall.SYS_PRCTL, syscall.PR_SET_TIMERSLACK, uintptr(slack), 0)
}
