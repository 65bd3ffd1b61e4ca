//go:build !race

package node

const slack = 1
