//go:build race

package storagetest

// slow is by how much less is done under the race detector, which looks at each byte that a store compares or checks:
// it finds what it finds in a few thousand records, and the sizes are for runs without it.
const slow = 5
