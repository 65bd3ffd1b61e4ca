//go:build !linux

package bolt

func (f *file) release() {}
