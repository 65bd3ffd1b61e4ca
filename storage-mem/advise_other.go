//go:build !linux || race

package mem

func forgetPages([]byte) {}

func hugePages([]byte) {}
