//go:build !failpoints

package failpoint

// On says whether this program can be stopped at its failpoints.
const On = false

// Hit says that the program is at p.
func Hit(Point) {}
