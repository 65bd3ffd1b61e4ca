package process

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"runtime/debug"
	"strconv"
	"syscall"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/go-plugin"
	"google.golang.org/grpc"

	"github.com/zkcore/zkcore/plugins/consensus"
	pb "github.com/zkcore/zkcore/plugins/process/modulepb"
	"github.com/zkcore/zkcore/plugins/storage"
)

// ServeStorage is the main function of a storage module: it serves the store that open opens
// to the node that has started the process, and does not return before the node is done
// with it.
func ServeStorage(open storage.Open) {
	s := &storeServer{open: open}
	serveModule(&moduleServer{kind: kindStorage, alive: s.alive}, contractVersion, func(g *grpc.Server) { pb.RegisterStorageServer(g, s) })
}

// ServeConsensus is the main function of a consensus module.
func ServeConsensus(open consensus.Open) {
	s := &memberServer{open: open}
	// Next to nothing lives long here but what was just logged: with so small a heap the collector
	// would run at every turn.
	debug.SetGCPercent(200)
	if fd, err := strconv.Atoi(os.Getenv(socketKey)); err == nil {
		if s.socket, err = inherited(fd); err != nil {
			Fail(consensus.ExitUnexpected, fmt.Errorf("the server's socket: %w", err))
		}
		go s.take()
	}
	serveModule(&moduleServer{kind: kindConsensus, alive: s.alive, socket: s.socket != nil}, contractVersion, func(g *grpc.Server) { pb.RegisterConsensusServer(g, s) })
}

// Fail ends a module for a reason for which its node must end too, with that exit code. What
// a consensus module is given as Config.Fail does this.
func Fail(code int, err error) {
	logTo(stderr, slog.LevelDebug).Error(err.Error(), failKey, code)
	os.Exit(code)
}

// stderr is where the node reads the module's log. go-plugin gives os.Stderr another meaning.
var stderr = os.Stderr

// logTo is a log as the node reads it.
func logTo(w io.Writer, level slog.Level) *slog.Logger {
	return slog.New(slog.NewJSONHandler(w, &slog.HandlerOptions{Level: level, ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
		if a.Value.Kind() != slog.KindGroup {
			switch a.Key {
			case slog.TimeKey, slog.LevelKey, slog.MessageKey:
			default: // as the node's own log would show it
				a.Value = slog.StringValue(a.Value.String())
			}
		}
		return a
	}}))
}

func levelOf(debug bool) slog.Level {
	if debug {
		return slog.LevelDebug
	}
	return slog.LevelInfo
}

// serveModule serves a module.
func serveModule(m *moduleServer, version int, register func(*grpc.Server)) {
	if os.Getenv(handshake.MagicCookieKey) != handshake.MagicCookieValue {
		fmt.Fprintf(os.Stderr, "%s is a %s module of zkcore: a server starts it that is told to use it, with --%s=%s\n",
			os.Args[0], m.kind, m.kind, os.Args[0])
		os.Exit(2)
	}
	// The node decides when a module ends, not whoever signals a whole group of processes: a
	// node that shuts down in order has use for its modules until the end of that.
	signal.Ignore(syscall.SIGTERM, syscall.SIGINT, syscall.SIGHUP)
	nameProcess()
	slog.SetDefault(logTo(stderr, slog.LevelInfo))
	go func() {
		io.Copy(io.Discard, os.Stdin)
		os.Exit(0) // the node is gone, or done
	}()
	plugin.Serve(&plugin.ServeConfig{
		HandshakeConfig: handshake,
		VersionedPlugins: map[int]plugin.PluginSet{version: {pluginName: serve{register: func(g *grpc.Server) {
			pb.RegisterModuleServer(g, m)
			register(g)
		}}}},
		GRPCServer: func(opts []grpc.ServerOption) *grpc.Server {
			return grpc.NewServer(append(opts, grpc.MaxRecvMsgSize(maxMessage), grpc.MaxSendMsgSize(maxMessage),
				grpc.InitialWindowSize(window), grpc.InitialConnWindowSize(2*window),
				grpc.ReadBufferSize(bufferSize), grpc.WriteBufferSize(bufferSize))...)
		},
		Logger: hclog.NewNullLogger(),
	})
}

// A moduleServer says what the module is and that it is well.
type moduleServer struct {
	pb.UnimplementedModuleServer
	kind   string
	socket bool                  // the frames of a member travel on the socket
	alive  func(*pb.HealthReply) // returns soon if it is well, and says what else there is to say
}

func (s *moduleServer) Describe(context.Context, *pb.DescribeRequest) (*pb.Description, error) {
	d := &pb.Description{Kind: s.kind, Version: "unknown", Socket: s.socket}
	if info, ok := debug.ReadBuildInfo(); ok {
		d.Version = info.Main.Version
		for _, set := range info.Settings {
			if set.Key == "vcs.revision" && len(set.Value) >= 12 {
				d.Version += " " + set.Value[:12]
			}
		}
	}
	return d, nil
}

func (s *moduleServer) Health(context.Context, *pb.HealthRequest) (*pb.HealthReply, error) {
	r := new(pb.HealthReply)
	s.alive(r)
	return r, nil
}
