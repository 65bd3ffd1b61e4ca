//go:build !race

package fuzztest

const slack = 1
