//go:build race

package fuzztest

// slack: under the race detector small objects don't share a block, so that a string of two
// bytes takes sixteen. It is of the detector, and not of what is measured.
const slack = 2
