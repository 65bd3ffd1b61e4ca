//go:build !(linux || darwin || freebsd || netbsd || openbsd || dragonfly)

package process

import (
	"errors"
	"os"
)

// socketPair has nothing: here a process can't be started with a socket.
func socketPair(int) (ours line, theirs []*os.File, err error) { return nil, nil, nil }

func inherited(int) (line, error) {
	return nil, errors.New("a process of this system is started with no socket")
}
