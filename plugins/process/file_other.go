//go:build !linux

package process

import "os"

// opened is the file's path: other systems have no name for an open file.
func opened(f *os.File) string { return f.Name() }

// nameProcess has nothing to do.
func nameProcess() {}
