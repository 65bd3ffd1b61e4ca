//go:build simbug

package simbug

var planted string

// On says whether this mistake is to be made.
func On(name string) bool { return name == planted }

// Plant makes name the mistake to be made from now on; "" is none. Nothing that asks On may
// run meanwhile.
func Plant(name string) { planted = name }

// Planted says whether there is a mistake to be found. The assertions that would give it away
// at once are off then: it is for the tests to find it.
func Planted() bool { return planted != "" }
