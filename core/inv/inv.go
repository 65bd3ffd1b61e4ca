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

// Stop is what a process does that ends in a way of its own, before any panic; it does
// not return. It is set once, at the start, by a program's main.
var Stop func(Broken)

// Break panics: invariant no does not hold.
func Break(no, format string, args ...any) {
	b := Broken{No: no, What: fmt.Sprintf(format, args...)}
	if Stop != nil {
		Stop(b)
	}
	panic(b)
}
