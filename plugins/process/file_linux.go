package process

import (
	"fmt"
	"os"
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
