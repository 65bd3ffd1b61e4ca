//go:build linux || darwin || freebsd || netbsd || openbsd || dragonfly

package process

import (
	"errors"
	"io"
	"net"
	"os"
	"syscall"
)

// socketPair makes two ends of a line that nobody else has a way to. One is for a process that is
// to be started. What comes out of ours is bounded by max.
func socketPair(max int) (ours line, theirs *os.File, err error) {
	syscall.ForkLock.RLock()
	fds, err := syscall.Socketpair(syscall.AF_UNIX, syscall.SOCK_STREAM, 0)
	if err == nil {
		syscall.CloseOnExec(fds[0])
		syscall.CloseOnExec(fds[1])
	}
	syscall.ForkLock.RUnlock()
	if err != nil {
		return nil, nil, os.NewSyscallError("socketpair", err)
	}
	theirs = os.NewFile(uintptr(fds[1]), "socket of a module")
	ours, err = newSocketLine(os.NewFile(uintptr(fds[0]), "socket to a module"), max)
	if err != nil {
		theirs.Close()
		return nil, nil, err
	}
	return ours, theirs, nil
}

// A socketLine is a socket.
type socketLine struct {
	conn   *net.UnixConn
	raw    syscall.RawConn
	frames frameReader

	// What try tries.
	once func(fd uintptr) bool
	b    []byte
	n    int
	err  error
}

// newSocketLine makes a line of a socket, which f is no more afterwards.
func newSocketLine(f *os.File, max int) (line, error) {
	defer f.Close()
	c, err := net.FileConn(f)
	if err != nil {
		return nil, err
	}
	conn, ok := c.(*net.UnixConn)
	if !ok {
		c.Close()
		return nil, errors.New("it is no socket of this machine")
	}
	raw, err := conn.SyscallConn()
	if err != nil {
		c.Close()
		return nil, err
	}
	l := &socketLine{conn: conn, raw: raw, frames: frameReader{r: conn, max: max}}
	l.once = l.write
	return l, nil
}

// inherited is the socket that this process was started with.
func inherited(fd uintptr) (line, error) {
	syscall.CloseOnExec(int(fd))
	return newSocketLine(os.NewFile(fd, "socket to the server"), maxMessage)
}

func (l *socketLine) next() ([]byte, error) { return l.frames.next() }

func (l *socketLine) send(b []byte) error {
	_, err := l.conn.Write(b)
	return err
}

func (l *socketLine) try(b []byte) (int, error) {
	l.b, l.n, l.err = b, 0, nil
	err := l.raw.Write(l.once)
	if err == nil {
		err = l.err
	}
	l.b = nil
	return l.n, err
}

// write writes what goes at once.
func (l *socketLine) write(fd uintptr) bool {
	for l.n < len(l.b) {
		n, err := syscall.Write(int(fd), l.b[l.n:])
		switch {
		case err == syscall.EINTR:
			continue
		case err == syscall.EAGAIN:
			return true
		case err == nil && n == 0:
			err = io.ErrShortWrite
		}
		if err != nil {
			l.err = os.NewSyscallError("write", err)
			return true
		}
		l.n += n
	}
	return true
}

func (l *socketLine) close() { l.conn.Close() }
