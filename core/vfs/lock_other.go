//go:build !(linux || darwin || freebsd)

package vfs

import (
	"errors"
	"os"
)

// Some systems can't sync a directory and need not.
func syncDir(*os.File) error { return nil }

func lockFile(*os.File) error { return errors.ErrUnsupported }

func usage(string) (Usage, error) { return Usage{}, errors.ErrUnsupported }
