//go:build !race

package storagetest

const slow = 1
