//go:build unix

package conn

import (
	"syscall"
)

// openRaw prepares reading and writing without a buffer held while waiting.
func (c *Conn) openRaw() {
	sc, ok := c.nc.(syscall.Conn)
	if !ok {
		return
	}
	raw, err := sc.SyscallConn()
	if err != nil {
		return
	}
	c.raw = raw
	c.readRaw = func(fd uintptr) bool {
		c.unpark()
		for {
			n, err := syscall.Read(int(fd), c.in.b[len(c.in.b):cap(c.in.b)])
			switch {
			case err == syscall.EINTR:
				continue
			case err == syscall.EAGAIN:
				c.park()
				return false
			case err != nil:
				c.n, c.err = 0, err
			default:
				c.in.b = c.in.b[:len(c.in.b)+n]
				c.n, c.err = n, nil
			}
			return true
		}
	}
	c.writeRaw = func(fd uintptr) bool {
		for len(c.left) > 0 {
			n, err := syscall.Write(int(fd), c.left)
			switch {
			case err == syscall.EINTR:
			case err == syscall.EAGAIN:
				return !c.wait // false: come back when it is writable
			case err != nil:
				c.werr = err
				return true
			default:
				c.left = c.left[n:]
				c.written.Add(int64(n))
			}
		}
		return true
	}
}

// read reads once; it waits for the first byte.
func (c *Conn) read() (int, error) {
	if c.raw == nil {
		return c.readPlain()
	}
	if err := c.raw.Read(c.readRaw); err != nil {
		return 0, err
	}
	return c.n, c.err
}

// write writes b and returns what is left of it: nothing, if it may wait.
func (c *Conn) write(b []byte, wait bool) ([]byte, error) {
	if c.raw == nil {
		return c.writePlain(b, wait)
	}
	c.left, c.wait, c.werr = b, wait, nil
	err := c.raw.Write(c.writeRaw)
	if err == nil {
		err = c.werr
	}
	left := c.left
	c.left = nil
	return left, err
}

// descriptors is how many connections the limit of open files leaves room for, 0 if there is no limit, and
// how many it keeps in reserve for peers, files and modules.
func descriptors() (conns, spare int) {
	var r syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &r); err != nil || r.Cur > 1<<30 {
		return 0, unlimited
	}
	n := int(r.Cur)
	conns = max(n-max(n/8, 128), n/2)
	return conns, n - conns
}
