// Package inv holds the assertions that stay on in production.
//
// An invariant has a number, I01 to I31, by which tests and comments name it.
// One that does not hold means that this process no longer knows what its state
// is worth: it panics with a line that names the invariant, nobody recovers, and
// the quorum makes good for the stopped node.
// Bad input and failing disks are no invariants: those have errors.
package inv

import "fmt"

// Broken is the value of the panic.
type Broken struct {
	No   string // the invariant: "I07"
	What string // what was found
}

func (b Broken) Error() string { return "invariant " + b.No + " does not hold: " + b.What }

// Check panics unless cond holds. Arguments are evaluated either way: where that
// matters, ask first and call Break.
func Check(no string, cond bool, format string, args ...any) {
	if !cond {
		Break(no, format, args...)
	}
}

// Break panics: invariant no does not hold.
func Break(no, format string, args ...any) {
	panic(Broken{No: no, What: fmt.Sprintf(format, args...)})
}
