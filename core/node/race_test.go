//go:build race

package node

// slack: under the race detector frames on the stack and small objects are larger.
const slack = 2
