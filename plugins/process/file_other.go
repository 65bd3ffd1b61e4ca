//go:build !linux

package process

import "os"

// opened is the file's path: other systems have no name for an open file.
func opened(f *os.File) string { return f.Name() }

// apart has nothing to do: what is started is named by its path.
func apart(f *os.File, _ []*os.File) (*os.File, error) { return f, nil }

// keepOwn has no list of descriptors to go by.
func keepOwn() {}

// nameProcess has nothing to do.
func nameProcess() {}
