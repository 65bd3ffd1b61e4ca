// Command zkcore-storage-bolt is the store in a bolt file as a process of its own. A server
// starts it that is told to use it; see docs/plugins.md.
package main

import (
	"github.com/zkcore/zkcore/plugins/process"
	bolt "github.com/zkcore/zkcore/storage-bolt"
)

func main() { process.ServeStorage(bolt.Open) }
