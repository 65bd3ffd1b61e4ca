//go:build linux && !race

package mem

import "syscall"

// forgetPages lets the system take back pages whose content is of no use; they
// may be written to again. Advice that isn't taken costs memory only.
func forgetPages(b []byte) {
	_ = syscall.Madvise(b, syscall.MADV_DONTNEED)
}

// hugePages asks for large pages: a tree of some size is read all over, and
// finding out where a page is costs as much as reading from it.
func hugePages(b []byte) {
	_ = syscall.Madvise(b, syscall.MADV_HUGEPAGE)
}
