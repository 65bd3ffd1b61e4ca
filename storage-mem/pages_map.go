//go:build (linux || darwin || freebsd || netbsd || openbsd || dragonfly) && !race

package mem

import "syscall"

// chunkShift is the size of what an arena maps at once: address space only,
// until it is written to.
const chunkShift = 26

// mapPages returns n bytes of zeros, which begin at a page.
func mapPages(n int) ([]byte, error) {
	return syscall.Mmap(-1, 0, n, syscall.PROT_READ|syscall.PROT_WRITE, syscall.MAP_ANON|syscall.MAP_PRIVATE)
}

// unmapPages gives back what mapPages has returned.
func unmapPages(b []byte) {
	if err := syscall.Munmap(b); err != nil {
		panic("mem: unmapping what was mapped: " + err.Error())
	}
}
