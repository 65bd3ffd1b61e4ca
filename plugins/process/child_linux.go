package process

import "syscall"

// attributes make a module end with its node, even if that is killed, and keep the terminal's
// signals from it.
func attributes() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
}
