package process

import (
	"context"
	"errors"

	"github.com/hashicorp/go-plugin"
	"google.golang.org/grpc"
)

// contractVersion is the version of what crosses. A node and a module that have another one
// don't work together: it counts up with every change that the other side could trip over.
const contractVersion = 1

// handshake tells a program that a node has started it. It is no secret.
var handshake = plugin.HandshakeConfig{
	MagicCookieKey:   "ZKCORE_MODULE",
	MagicCookieValue: "zkcore",
}

const pluginName = "module"

// socketKey is the variable that tells a member the number of the descriptor from which its
// node's frames come; its own go to the one behind that.
const socketKey = "ZKCORE_MODULE_SOCKET"

// Flow control: how much may be under way in one direction.
const (
	// maxMessage bounds what a module takes: more than any request can be.
	maxMessage = 1<<30 + 1<<20
	window     = 4 << 20
	bufferSize = 64 << 10
)

// connect is the node's side of the connection.
type connect struct{ plugin.NetRPCUnsupportedPlugin }

func (connect) GRPCServer(*plugin.GRPCBroker, *grpc.Server) error {
	return errors.New("a node serves no module")
}

func (connect) GRPCClient(_ context.Context, _ *plugin.GRPCBroker, c *grpc.ClientConn) (any, error) {
	return c, nil
}

// serve is the module's side.
type serve struct {
	plugin.NetRPCUnsupportedPlugin
	register func(*grpc.Server)
}

func (s serve) GRPCServer(_ *plugin.GRPCBroker, g *grpc.Server) error {
	s.register(g)
	return nil
}

func (serve) GRPCClient(context.Context, *plugin.GRPCBroker, *grpc.ClientConn) (any, error) {
	return nil, errors.New("a module has no modules")
}
