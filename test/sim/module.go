package sim

import (
	"github.com/zkcore/zkcore/plugins/consensus"
)

// A Module is a consensus module as the simulator runs it. What it does on a machine it
// does by the machine's events.
type Module struct {
	Name string
	// Open opens a member for a node on a machine. Begin is called when the node has
	// started.
	Open func(m *machine, cfg consensus.Config, n consensus.Node) (Peer, consensus.Member, error)
}

// A Peer is a member that runs on a machine.
type Peer interface {
	Begin()
	// Up is called when another machine's member has begun, Refused when its process is
	// seen to have ended.
	Up(o *machine)
	Refused(o *machine)
	// Leave begins what comes before an orderly end, Left says that it is over.
	Leave()
	Left() bool
}

// Modules are those that runs are made with.
var Modules = []Module{{Name: "zab", Open: openZab}, {Name: "raft", Open: openRaft}}
