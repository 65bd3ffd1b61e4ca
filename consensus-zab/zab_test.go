package zab

import (
	"testing"

	"github.com/zkcore/zkcore/plugins/consensus/consensustest"
)

func TestContract(t *testing.T) { consensustest.Run(t, Open) }
