// Package simbug is plugins/simbug under the name that the code above the contracts knows it
// by: planted mistakes, made only in a build with -tags simbug. Storage modules plant some, too,
// and may import nothing of core.
package simbug

import bug "github.com/zkcore/zkcore/plugins/simbug"

// On says whether a mistake is to be made.
func On(name string) bool { return bug.On(name) }

// Planted says whether there is a mistake to be found. The assertions that would give it away
// at once are off then: it is for the tests to find it.
func Planted() bool { return bug.Planted() }
