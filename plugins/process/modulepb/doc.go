// Package modulepb is what crosses between a node and a module's process: module.proto, and the
// code that make generate makes of it.
package modulepb
