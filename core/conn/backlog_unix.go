//go:build unix

package conn

import (
	"net"
	"syscall"
)

// setBacklog says how many connections may wait to be accepted: to listen once more changes
// nothing else.
func setBacklog(l net.Listener, n int) error {
	raw, err := l.(*net.TCPListener).SyscallConn()
	if err != nil {
		return err
	}
	if cerr := raw.Control(func(fd uintptr) { err = syscall.Listen(int(fd), n) }); cerr != nil {
		return cerr
	}
	return err
}
