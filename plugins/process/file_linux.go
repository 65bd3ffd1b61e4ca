package process

import (
	"fmt"
	"os"
	"path/filepath"
)

// opened is a name under which f itself, not what its path means by now, can be opened and
// started.
func opened(f *os.File) string {
	name := fmt.Sprintf("/proc/self/fd/%d", f.Fd())
	if _, err := os.Stat(name); err != nil {
		return f.Name() // there is no /proc here
	}
	return name
}

// nameProcess shows a module under the name of its program: what was started had no name.
func nameProcess() {
	// Nothing depends on it.
	_ = os.WriteFile("/proc/self/comm", []byte(filepath.Base(os.Args[0])), 0)
}
