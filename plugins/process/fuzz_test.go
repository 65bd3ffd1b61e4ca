package process

import (
	"bytes"
	"io"
	"log/slog"
	"runtime"
	"testing"

	"github.com/zkcore/zkcore/plugins/consensus"
	pb "github.com/zkcore/zkcore/plugins/process/modulepb"
	"github.com/zkcore/zkcore/plugins/storage"
)

// lean fails if decoding allocates more than the input is worth. Every target runs it once
// more than it needs to, so that what is made only once does not count.
func lean(t *testing.T, b []byte, fn func()) {
	t.Helper()
	fn()
	least := uint64(1<<64 - 1)
	for range 3 { // the collector and other goroutines allocate too
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		fn()
		runtime.ReadMemStats(&after)
		if least = min(least, after.TotalAlloc-before.TotalAlloc); least <= limitOf(b) {
			return
		}
	}
	t.Errorf("decoding %d bytes takes %d", len(b), least)
}

// limitOf is what decoding b may take. An op, an identity or an observation of a few bytes is a
// struct of a hundred; and who reads frames has memory to read into.
func limitOf(b []byte) uint64 { return readSize + 64<<10 + 80*uint64(len(b)) }

// frameSeeds are one frame of each kind, as the two sides make them.
func frameSeeds() [][]byte {
	txns := []consensus.Txn{{Zxid: 1 << 32, Data: []byte("first")}, {Zxid: 1<<32 + 1}}
	var c collector
	c.Add("count", 3)
	c.Observe("seen", 1)
	c.ObserveKey("seen", "key", 2)
	metrics, _ := c.take(nil)
	seeds := [][]byte{
		metrics,
		appendTxns([]byte{fDeliver}, txns),
		appendTxns([]byte{fPropose, 7}, txns),
		appendRequest([]byte{fReceive, 2}, &consensus.Request{Session: 5, Cxid: 6, Op: 1, Auth: []consensus.Identity{{Scheme: "ip", ID: "::1"}}, Body: []byte("body")}),
		appendTouches([]byte{fTouch, 2}, []consensus.Touch{{Session: 1, TimeoutMS: 4000}}),
		appendProto([]byte{fRole}, roleToWire(consensus.Role{State: consensus.Leading, Term: 3, Leader: 1, Epoch: 1, Last: 1 << 32})),
		appendError([]byte{fClosed}, consensus.ErrClosed),
		appendProto([]byte{fOpen}, configToWire(&consensus.Config{ID: 1, Servers: []consensus.Server{{ID: 1, Quorum: []string{"a:1"}}}}, true)),
	}
	var all []byte
	for _, s := range seeds {
		all, _ = appendFrame(all, func(dst []byte) []byte { return append(dst, s...) })
	}
	return append(seeds, all)
}

// FuzzFrames: what a module puts into its stream, to the node that reads it. Nothing that can be
// sent makes it panic, wait, or take memory; what is no frame is an error.
func FuzzFrames(f *testing.F) {
	for _, s := range frameSeeds() {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		lean(t, b, func() {
			m := &member{m: &module{}, node: quietNode{}, out: newOutbox(nowhere{}), snapshots: map[uint64]*snapshot{}}
			m.calls.more.L = &m.calls.mu
			f := frameReader{r: bytes.NewReader(b), max: 1 << 20}
			_ = each(&f, func(frame []byte) error {
				if kind := frame[0]; kind == fStream || kind == fRestore {
					return nil // these open a stream of their own
				}
				if err := m.frame(frame); err != nil {
					return err
				}
				for _, call := range m.calls.frames {
					if _, err := m.make(call); err != nil {
						return err
					}
				}
				m.calls.frames = nil
				return nil
			})
			g := grpcLine{b: append([]byte{byte(len(b) % 128)}, b...), stream: nowhere{}}
			_ = each(&g, func([]byte) error { return nil })
		})
	})
}

// each calls fn for every frame.
func each(l interface{ next() ([]byte, error) }, fn func([]byte) error) error {
	for {
		frame, err := l.next()
		if err != nil {
			return err
		}
		if err := fn(frame); err != nil {
			return err
		}
	}
}

// nowhere is a line and a stream into nothing.
type nowhere struct{}

func (nowhere) send([]byte) error         { return nil }
func (nowhere) try(b []byte) (int, error) { return len(b), nil }
func (nowhere) next() ([]byte, error)     { return nil, io.EOF }
func (nowhere) close()                    {}
func (nowhere) Send(*pb.Frames) error     { return nil }
func (nowhere) Recv() (*pb.Frames, error) { return nil, io.EOF }

// quietNode takes everything.
type quietNode struct{ consensus.Node }

func (quietNode) Recover(consensus.Zxid) (consensus.Zxid, error)      { return 0, nil }
func (quietNode) SetAside(string) error                               { return nil }
func (quietNode) Role(consensus.Role)                                 {}
func (quietNode) Deliver([]consensus.Txn)                             {}
func (quietNode) Receive(consensus.ServerID, consensus.Request)       {}
func (quietNode) Touch(consensus.ServerID, []consensus.Touch)         {}
func (quietNode) Revalidate(consensus.ServerID, consensus.Touch) bool { return true }
func (quietNode) Revalidated(int64, bool)                             {}
func (quietNode) Synced(consensus.SyncID)                             {}
func (quietNode) Touched() []consensus.Touch                          { return nil }
func (quietNode) Snapshot() (consensus.Snapshot, error)               { return nil, consensus.ErrClosed }

// FuzzBatch: batches, records, names and entries, as they cross between a node and a store.
// What decodes encodes to what decodes to the same.
func FuzzBatch(f *testing.F) {
	b := &storage.Batch{Zxid: 7}
	b.Put("/", []byte("head"), nil)
	b.Put("/a", nil, []byte{})
	b.PutHead("/a", []byte("head"))
	b.Delete("/a")
	b.TablePut("t", "k", []byte("v"))
	b.TableDelete("t", "k")
	f.Add(appendBatch(nil, b))
	f.Add(appendRecord(nil, "/a", storage.Record{Head: []byte("h")}))
	f.Add(appendBytes(appendBytes(nil, "key"), "value"))
	f.Fuzz(func(t *testing.T, raw []byte) {
		lean(t, raw, func() {
			_, _ = scanRecords(raw, func(string, storage.Record) bool { return true })
			_, _ = scanNames(raw, func(string) bool { return true })
			_, _ = scanEntries(raw, func(string, []byte) bool { return true })
			_, _ = decodeBatch(raw, nil)
		})
		batch, err := decodeBatch(raw, nil)
		if err != nil {
			return
		}
		again := appendBatch(nil, &batch)
		second, err := decodeBatch(again, nil)
		if err != nil {
			t.Fatalf("what was encoded does not decode: %v", err)
		}
		if !bytes.Equal(appendBatch(nil, &second), again) {
			t.Fatal("a batch changes when it crosses twice")
		}
	})
}

// FuzzLog: what a module writes to stderr, to the node's log.
func FuzzLog(f *testing.F) {
	f.Add([]byte(`{"time":"2026-11-28T01:00:00Z","level":"WARN","msg":"opened","dir":"/data","n":7}`))
	f.Add([]byte(`{"@level":"info","@message":"hclog's","@timestamp":"x","a":{"b":[1]}}`))
	f.Add([]byte(`{"level":"ERROR","msg":"ends","zkcore.fail":21}`))
	f.Add([]byte("panic: it\n\ngoroutine 1 [running]:\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		lean(t, b, func() {
			l := newLogReader(slog.New(slog.DiscardHandler), slog.New(slog.DiscardHandler))
			l.run(bytes.NewReader(b))
			if len(l.lastWord()) > maxLine {
				t.Fatal("a word without end")
			}
		})
	})
}
