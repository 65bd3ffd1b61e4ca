package member

import (
	"errors"
	"syscall"

	"github.com/zkcore/zkcore/core/txnlog"
	"github.com/zkcore/zkcore/plugins/consensus"
)

// ExitCode is what the process ends with after err of the files of the log.
func ExitCode(err error) int {
	var format *txnlog.FormatError
	switch {
	case errors.As(err, &format):
		return format.ExitCode()
	case errors.Is(err, consensus.ErrDamaged):
		return consensus.ExitDamage
	case errors.Is(err, syscall.ENOSPC), errors.Is(err, syscall.EDQUOT):
		return consensus.ExitDiskFull
	}
	return consensus.ExitDisk
}
