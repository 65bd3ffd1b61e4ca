package vfs

import (
	"os"
	"syscall"
)

// dataSync is fdatasync: the data and what is needed to find it again, but not
// the times of the file, whose change would cost a journal commit each time.
func dataSync(f *os.File) error {
	c, err := f.SyscallConn()
	if err != nil {
		return err
	}
	var serr error
	err = c.Control(func(fd uintptr) {
		for {
			if serr = syscall.Fdatasync(int(fd)); serr != syscall.EINTR {
				return
			}
		}
	})
	if err != nil {
		return err
	}
	return serr
}
