//go:build (linux || darwin || freebsd || netbsd || openbsd || dragonfly) && !race

package behind

import "syscall"

// mapMemory returns n bytes of zeros, which take no memory before they are written.
func mapMemory(n int) ([]byte, error) {
	return syscall.Mmap(-1, 0, n, syscall.PROT_READ|syscall.PROT_WRITE, syscall.MAP_ANON|syscall.MAP_PRIVATE)
}

func unmapMemory(b []byte) {
	if err := syscall.Munmap(b); err != nil {
		panic("behind: unmapping what was mapped: " + err.Error())
	}
}
