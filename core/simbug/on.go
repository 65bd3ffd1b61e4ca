//go:build simbug

package simbug

var planted string

// On says whether this mistake is to be made.
func On(name string) bool { return name == planted }

// Plant makes name the mistake to be made from now on; "" is none. Nothing that asks On may
// run meanwhile.
func Plant(name string) { planted = name }
