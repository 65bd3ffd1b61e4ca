// Package simbug plants known mistakes, so that the tests can prove that they would find
// them: what never fails may be blind.
//
// Where an engineer might go wrong, the code asks On by name and then does the wrong thing,
// in a line or two. Only a build with -tags simbug can do so, and only for the one name that
// a test has set. In every other build On is a constant, so that neither the branch nor the
// name is in the binary: test/arch looks.
//
// Which mistakes there are, and that the simulator finds each of them, is in test/sim:
// TestPlanted.
package simbug
