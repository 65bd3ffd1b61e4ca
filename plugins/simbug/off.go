//go:build !simbug

package simbug

// On says whether a mistake is to be made: never.
func On(string) bool { return false }

// Planted says whether there is a mistake to be found: no.
func Planted() bool { return false }
