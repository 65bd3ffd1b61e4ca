package raft

import (
	"maps"
	"testing"

	"go.uber.org/goleak"

	"github.com/zkcore/zkcore/plugins/consensus"
	"github.com/zkcore/zkcore/plugins/consensus/consensustest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// patient is Open for tests that must not lose a leader because the machine is busy.
func patient(cfg consensus.Config, n consensus.Node) (consensus.Member, error) {
	cfg.Options = maps.Clone(cfg.Options)
	if cfg.Options["zkcore.raft.electionMs"] == "" {
		cfg.Options["zkcore.raft.electionMs"] = "3000"
	}
	return Open(cfg, n)
}

func TestContract(t *testing.T) { consensustest.Run(t, patient) }
