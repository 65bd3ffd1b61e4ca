//go:build linux || darwin || freebsd || netbsd || openbsd || dragonfly

package process

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/zkcore/zkcore/plugins/consensus"
)

// bothEnds makes a line and the other end of it.
func bothEnds(t *testing.T, max int) (ours, theirs line) {
	t.Helper()
	ours, files, err := socketPair(max)
	if err != nil {
		t.Fatal(err)
	}
	theirs, err = newSocketLine(files[0], files[1], max)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ours.close(); theirs.close() })
	return ours, theirs
}

// TestOutbox: what many put in comes out whole, each one's frames in his order, and nobody waits
// for the other side, which reads nothing before all is in.
func TestOutbox(t *testing.T) {
	ours, theirs := bothEnds(t, 1<<20)
	o := newOutbox(ours)
	ran := make(chan error, 1)
	go func() { ran <- o.run() }()
	const writers, each = 4, 200
	frame := func(dst []byte, writer, i, size int) []byte {
		dst = binary.AppendUvarint(append(dst, byte(writer)), uint64(i))
		return append(dst, bytes.Repeat([]byte{byte(i)}, size)...)
	}
	sizeOf := func(writer, i int) int { return (writer*7919 + i*104729) % 20000 } // 8 MB in all: more than a socket holds
	var wg sync.WaitGroup
	for writer := range writers {
		wg.Go(func() {
			for i := range each {
				o.put(func(dst []byte) []byte { return frame(dst, writer, i, sizeOf(writer, i)) })
			}
		})
	}
	wg.Wait()
	o.close()
	var next [writers]int
	for range writers * each {
		got, err := theirs.next()
		if err != nil {
			t.Fatal(err)
		}
		writer := int(got[0])
		if want := frame(nil, writer, next[writer], sizeOf(writer, next[writer])); !bytes.Equal(got, want) {
			t.Fatalf("writer %d, frame %d: %d bytes, want %d", writer, next[writer], len(got), len(want))
		}
		next[writer]++
	}
	if err := <-ran; err != nil {
		t.Error(err)
	}
	if _, mine := o.add(func(dst []byte) []byte { return dst }); mine {
		t.Error("a closed outbox takes a frame")
	}
}

// TestLineBreaks: a side that is gone is an error for who sends and who receives.
func TestLineBreaks(t *testing.T) {
	ours, theirs := bothEnds(t, 1<<20)
	o := newOutbox(ours)
	go func() {
		time.Sleep(10 * time.Millisecond)
		theirs.close()
	}()
	go func() {
		for range 1000 { // more than the socket holds
			o.put(func(dst []byte) []byte { return append(dst, make([]byte, 10000)...) })
		}
	}()
	if err := o.run(); err == nil {
		t.Error("sent to nobody")
	}
	if _, err := ours.next(); !errors.Is(err, io.EOF) {
		t.Errorf("received %v", err)
	}
}

// TestFrameReader: frames come out as they went in however they are cut, and what claims to be
// longer than may be is refused.
func TestFrameReader(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	var sent [][]byte
	var all []byte
	for range 300 {
		size := 1 + rng.IntN(100)
		if rng.IntN(20) == 0 {
			size = 1 + rng.IntN(3*readSize)
		}
		b := make([]byte, size)
		for i := range b {
			b[i] = byte(rng.Uint32())
		}
		sent = append(sent, b)
		all, _ = appendFrame(all, func(dst []byte) []byte { return append(dst, b...) })
	}
	f := frameReader{r: &cutReader{bytes.NewReader(all), rng}, max: 3 * readSize}
	var got [][]byte
	err := each(&f, func(frame []byte) error { got = append(got, frame); return nil })
	if !errors.Is(err, io.EOF) || len(got) != len(sent) {
		t.Fatalf("%d of %d frames, then %v", len(got), len(sent), err)
	}
	for i := range got { // nobody has written to them meanwhile
		if !bytes.Equal(got[i], sent[i]) {
			t.Fatalf("frame %d is another", i)
		}
	}
	for what, b := range map[string][]byte{
		"longer than may be": {0x81, 0x80, 0x0c, 1},
		"empty":              {0},
		"no number":          {0xff, 0xff, 0xff, 0xff, 0xff, 0xff},
	} {
		f := frameReader{r: bytes.NewReader(b), max: 3 * readSize}
		if _, err := f.next(); !errors.Is(err, errGarbage) {
			t.Errorf("%s: %v", what, err)
		}
	}
}

type cutReader struct {
	r   io.Reader
	rng *rand.Rand
}

func (c *cutReader) Read(b []byte) (int, error) {
	return c.r.Read(b[:1+c.rng.IntN(len(b))])
}

// TestOwn: what a leader's node has proposed is not sent back to it, within the term; anything else
// is, and what was never proposed is garbage.
func TestOwn(t *testing.T) {
	txns := func(from, n int) (out []consensus.Txn) {
		for i := range n {
			out = append(out, consensus.Txn{Zxid: consensus.MakeZxid(2, uint32(from+i)), Data: fmt.Append(nil, from+i)})
		}
		return out
	}
	lead := consensus.Role{State: consensus.Leading, Term: 3, Epoch: 2, Last: consensus.MakeZxid(2, 0)}

	ours, theirs := bothEnds(t, 1<<20)
	s := &memberServer{out: newOutbox(theirs)}
	s.less.L = &s.windowMu
	n := newFakeNode()
	m := &member{m: &module{}, node: n, line: ours, out: newOutbox(ours), snapshots: map[uint64]*snapshot{}}
	m.calls.more.L = &m.calls.mu
	crosses := func(kind byte) {
		t.Helper()
		frame, err := ours.next()
		if err != nil {
			t.Fatal(err)
		}
		if frame[0] != kind {
			t.Fatalf("frame of kind %d, want %d", frame[0], kind)
		}
		if _, err := m.make(frame); err != nil {
			t.Fatal(err)
		}
	}
	delivered := func(last consensus.Zxid, own int) {
		t.Helper()
		if n.last != last || len(m.own) != own {
			t.Errorf("delivered up to %v, and %d are known, want %v and %d", n.last, len(m.own), last, own)
		}
	}

	s.Role(lead)
	crosses(fRole)
	if err := m.Propose(3, txns(1, 5)); err != nil {
		t.Fatal(err)
	}
	s.proposed(3, txns(1, 3)) // two are on their way still
	s.Deliver(txns(1, 2))
	crosses(fOwn)
	delivered(consensus.MakeZxid(2, 2), 3)
	s.Deliver(txns(3, 2)) // one of them it does not know to be the node's
	crosses(fDeliver)
	delivered(consensus.MakeZxid(2, 4), 1)
	if got, want := s.unacked, m.dealt; got != want {
		t.Errorf("%d bytes are sent, and %d dealt with", got, want)
	}
	for _, bad := range []struct {
		n    uint64
		last consensus.Zxid
	}{{0, 0}, {2, consensus.MakeZxid(2, 6)}, {1, consensus.MakeZxid(2, 6)}, {1 << 60, 1}} {
		frame := binary.AppendVarint(binary.AppendUvarint([]byte{fOwn}, bad.n), int64(bad.last))
		if _, err := m.make(frame); !errors.Is(err, errGarbage) {
			t.Errorf("%d up to %v: %v", bad.n, bad.last, err)
		}
	}

	// A proposal that comes when the term is over is none of the next one's.
	lead.Term = 4
	s.Role(lead)
	s.proposed(3, txns(5, 1))
	crosses(fRole)
	s.Deliver(txns(5, 1))
	crosses(fDeliver)
	delivered(consensus.MakeZxid(2, 5), 0)
}

// TestDeliverMuch: txns that are more than the node takes in one frame are delivered in several. A learner has as many to
// deliver at a time when its node is slow, or when a leader has sent it a long history.
func TestDeliverMuch(t *testing.T) {
	ours, theirs := bothEnds(t, 4<<20)
	s := &memberServer{out: newOutbox(theirs)}
	s.less.L = &s.windowMu
	ran := make(chan struct{})
	go func() { s.out.run(); close(ran) }()
	n := newFakeNode()
	m := &member{m: &module{}, node: n, line: ours, out: newOutbox(ours)}
	var txns []consensus.Txn
	for i := range 100 {
		txns = append(txns, consensus.Txn{Zxid: consensus.MakeZxid(1, uint32(i+1)), Data: make([]byte, 100<<10)})
	}
	txns[50].Data = make([]byte, 3<<20) // one that is larger than what goes together
	bytes := 0
	for i := range txns {
		bytes += len(txns[i].Data)
	}
	s.Deliver(txns)
	for n.last < txns[len(txns)-1].Zxid {
		frame, err := ours.next()
		if err != nil {
			t.Fatal(err)
		}
		if _, err := m.make(frame); err != nil {
			t.Fatal(err)
		}
	}
	if n.bytes != bytes {
		t.Errorf("%d bytes are delivered, want %d", n.bytes, bytes)
	}
	s.out.close()
	<-ran
}
