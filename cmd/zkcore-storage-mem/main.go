// Command zkcore-storage-mem is the store in memory as a process of its own. A server starts
// it that is told to use it; see docs/plugins.md.
package main

import (
	"github.com/zkcore/zkcore/plugins/process"
	mem "github.com/zkcore/zkcore/storage-mem"
)

func main() { process.ServeStorage(mem.Open) }
