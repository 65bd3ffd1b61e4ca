//go:build race || !(linux || darwin || freebsd || netbsd || openbsd || dragonfly)

package mem

// chunkShift is the size of what an arena takes at once. The race detector
// doesn't look at mapped memory, so it gets this kind, too.
const chunkShift = 22

func mapPages(n int) ([]byte, error) { return make([]byte, n), nil }

func unmapPages([]byte) {}
