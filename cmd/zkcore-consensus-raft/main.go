// Command zkcore-consensus-raft is Raft as a process of its own. A server starts it that is told
// to use it; see docs/plugins.md.
package main

import (
	raft "github.com/zkcore/zkcore/consensus-raft"
	"github.com/zkcore/zkcore/core/inv"
	"github.com/zkcore/zkcore/plugins/consensus"
	"github.com/zkcore/zkcore/plugins/process"
)

func main() {
	inv.Stop = func(b inv.Broken) { process.Fail(consensus.ExitInvariant, b) }
	process.ServeConsensus(raft.Open)
}
