package node

import (
	"bytes"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/zkcore/zkcore/core/proto"
	"github.com/zkcore/zkcore/plugins/consensus"
)

// A jumpyWorld is the real one with another wall clock.
type jumpyWorld struct {
	World
	off atomic.Int64
}

func (w *jumpyWorld) WallMS() int64 { return w.World.WallMS() + w.off.Load() }

// The wall clock may jump by years, either way: it is data, and ends no session
// (ZOOKEEPER-1366).
func TestWallClockJumps(t *testing.T) {
	var w *jumpyWorld
	bubble(t, func(c *Config) {
		w = &jumpyWorld{World: newWorld()}
		c.World = w
	}, func(t *testing.T, r *rig, dial func() *peer) {
		p := dial()
		p.greet(&proto.ConnectRequest{TimeoutMS: 10000})
		p.must(proto.OpCreate, create("/e", proto.FlagEphemeral))
		for _, off := range []time.Duration{24 * time.Hour, -5 * 365 * 24 * time.Hour, 0, 400 * 24 * time.Hour} {
			w.off.Store(off.Milliseconds())
			for range 5 {
				time.Sleep(4 * time.Second)
				p.write(p.requestXid(proto.XidPing, proto.OpPing, nil))
				p.reply()
			}
			p.must(proto.OpGetData, get("/e"))
		}
		// And a silent one ends in its time, whatever the wall says.
		begin := time.Now()
		w.off.Store(-time.Hour.Milliseconds() * 24 * 1000)
		r.until("the silent session is gone", func() bool {
			time.Sleep(time.Second)
			return r.n.Info().Sessions == 0
		})
		if d := time.Since(begin); d < 9*time.Second || d > 30*time.Second {
			t.Errorf("it ended after %v", d)
		}
	})
}

// No secret of a client gets into a log line, whether it is right, wrong or malformed
// (CVE-2026-24308).
func TestSecretsStayOutOfTheLog(t *testing.T) {
	const planted = "pl4nted-s3cret"
	var mu sync.Mutex
	var log bytes.Buffer
	r := start(t, consensus.Leading, false, func(c *Config) {
		c.Log = slog.New(slog.NewTextHandler(writerFunc(func(b []byte) (int, error) {
			mu.Lock()
			defer mu.Unlock()
			return log.Write(b)
		}), &slog.HandlerOptions{Level: slog.LevelDebug}))
	})
	for _, a := range []*proto.AuthPacket{
		{Scheme: "digest", Auth: []byte("bob:" + planted)},
		{Scheme: planted, Auth: []byte(planted)},
		{Scheme: "sasl", Auth: []byte(planted)},
		{Scheme: "digest\n" + planted, Auth: nil},
	} {
		p := r.connect()
		p.write(p.requestXid(proto.XidAuth, proto.OpAuth, a))
		p.write(p.request(proto.OpCreate, create("/"+planted, 0)))
		p.c.(interface{ CloseWrite() error }).CloseWrite()
		p.ended()
	}
	p := r.dial()
	p.write(frame((&proto.ConnectRequest{TimeoutMS: 10000, SessionID: 7, Passwd: []byte(planted + "xx")}).Append(nil)))
	p.ended()
	p = r.connect()
	p.write(frame([]byte(planted)))
	p.ended()
	r.connect().must(proto.OpGetData, get("/"))
	mu.Lock()
	defer mu.Unlock()
	for line := range strings.Lines(log.String()) {
		if strings.Contains(line, planted) {
			t.Errorf("the log says: %s", line)
		}
	}
	if !strings.Contains(log.String(), "authentication failed") {
		t.Errorf("the log says nothing of those who were refused:\n%s", log.String())
	}
}

type writerFunc func([]byte) (int, error)

func (f writerFunc) Write(b []byte) (int, error) { return f(b) }
