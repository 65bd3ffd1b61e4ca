//go:build !unix

package conn

import "net"

// setBacklog leaves the length of the queue to the system.
func setBacklog(net.Listener, int) error { return nil }
