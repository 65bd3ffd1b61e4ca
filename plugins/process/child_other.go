//go:build unix && !linux

package process

import "syscall"

// attributes keep the terminal's signals from a module. That it ends with its node is left to
// its stdin.
func attributes() *syscall.SysProcAttr { return &syscall.SysProcAttr{Setpgid: true} }

// relax has nothing to do.
func relax() {}
