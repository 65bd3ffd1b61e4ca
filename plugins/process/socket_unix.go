//go:build linux || darwin || freebsd || netbsd || openbsd || dragonfly

package process

import (
	"errors"
	"io"
	"net"
	"os"
	"syscall"
)

// A socketLine is two pairs of sockets, one for each direction. With one for both, each message
// that the other side takes would wake this one, to tell it that there is room again.
type socketLine struct {
	in     *net.UnixConn
	out    *os.File // the runtime does not wait for it: send blocks
	raw    syscall.RawConn
	frames frameReader

	// What try tries.
	once func(fd uintptr) bool
	b    []byte
	n    int
	err  error
}

// socketCount is how many descriptors a process is started with for its end of a line.
const socketCount = 2

// socketPair makes two ends of a line that nobody else has a way to. One is for a process that is
// to be started. What comes out of ours is bounded by max.
func socketPair(max int) (ours line, theirs []*os.File, err error) {
	var mine []*os.File
	for range socketCount {
		var pair [2]*os.File
		if pair, err = newPair(); err != nil {
			break
		}
		mine, theirs = append(mine, pair[0]), append(theirs, pair[1])
	}
	if err == nil {
		ours, err = newSocketLine(mine[0], mine[1], max)
	} else {
		closeAll(mine)
	}
	if err != nil {
		closeAll(theirs)
		return nil, nil, err
	}
	theirs[0], theirs[1] = theirs[1], theirs[0] // what goes out here comes in there
	return ours, theirs, nil
}

func newPair() (pair [2]*os.File, err error) {
	syscall.ForkLock.RLock()
	fds, err := syscall.Socketpair(syscall.AF_UNIX, syscall.SOCK_STREAM, 0)
	if err == nil {
		syscall.CloseOnExec(fds[0])
		syscall.CloseOnExec(fds[1])
	}
	syscall.ForkLock.RUnlock()
	if err != nil {
		return pair, os.NewSyscallError("socketpair", err)
	}
	for i, fd := range fds {
		pair[i] = os.NewFile(uintptr(fd), "socket of a module")
	}
	return pair, nil
}

// inherited is the line that this process was started with, on descriptors from fd on.
func inherited(fd int) (line, error) {
	var files [socketCount]*os.File
	for i := range files {
		syscall.CloseOnExec(fd + i)
		files[i] = os.NewFile(uintptr(fd+i), "socket to the server")
	}
	return newSocketLine(files[0], files[1], maxMessage)
}

// newSocketLine makes a line of two sockets, which are its own from then on.
func newSocketLine(in, out *os.File, max int) (line, error) {
	defer in.Close()
	c, err := net.FileConn(in)
	if err != nil {
		out.Close()
		return nil, err
	}
	conn, ok := c.(*net.UnixConn)
	if !ok {
		c.Close()
		out.Close()
		return nil, errors.New("it is no socket of this machine")
	}
	raw, err := out.SyscallConn()
	if err != nil {
		c.Close()
		out.Close()
		return nil, err
	}
	l := &socketLine{in: conn, out: out, raw: raw, frames: frameReader{r: conn, max: max}}
	l.once = l.write
	return l, nil
}

func (l *socketLine) next() ([]byte, error) { return l.frames.next() }

func (l *socketLine) send(b []byte) error {
	_, err := l.out.Write(b)
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
		n, err := syscall.SendmsgN(int(fd), l.b[l.n:], nil, nil, syscall.MSG_DONTWAIT)
		switch {
		case err == syscall.EINTR:
			continue
		case err == syscall.EAGAIN:
			return true
		case err == nil && n == 0:
			err = io.ErrShortWrite
		}
		if err != nil {
			l.err = os.NewSyscallError("sendmsg", err)
			return true
		}
		l.n += n
	}
	return true
}

func (l *socketLine) close() {
	l.in.Close()
	l.out.Close()
}
