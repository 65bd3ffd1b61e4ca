package conn

import (
	"bytes"
	"encoding/binary"
	"io"
	"net"
	"testing"
	"time"

	"github.com/zkcore/zkcore/core/fuzztest"
)

// A script is a connection on which bytes come in pieces, and then nothing more.
type script struct {
	in    []byte
	piece int
	out   bytes.Buffer
	shut  bool
}

func (s *script) Read(b []byte) (int, error) {
	if len(s.in) == 0 || s.shut {
		return 0, io.EOF
	}
	n := copy(b[:min(len(b), s.piece)], s.in)
	s.in = s.in[n:]
	return n, nil
}

func (s *script) Write(b []byte) (int, error)      { return s.out.Write(b) }
func (s *script) Close() error                     { s.shut = true; return nil }
func (s *script) CloseWrite() error                { return nil }
func (s *script) LocalAddr() net.Addr              { return nil }
func (s *script) RemoteAddr() net.Addr             { return nil }
func (s *script) SetDeadline(time.Time) error      { return nil }
func (s *script) SetReadDeadline(time.Time) error  { return nil }
func (s *script) SetWriteDeadline(time.Time) error { return nil }

// A taker takes so many frames at a time, echoes each, and is greeted by the first.
type taker struct {
	c      *Conn
	most   int
	frames [][]byte
}

func (k *taker) Blocked() bool    { return false }
func (k *taker) Closed()          {}
func (k *taker) Describe() string { return "taker" }

func (k *taker) Frames(b []byte) (int, error) {
	k.c.Lock()
	defer k.c.Unlock()
	out, taken := k.c.Out(), 0
	for i := 0; i < k.most && taken < len(b); i++ {
		n := int(binary.BigEndian.Uint32(b[taken:]))
		k.frames = append(k.frames, bytes.Clone(b[taken+4:taken+4+n]))
		out = append(out, b[taken:taken+4+n]...)
		taken += 4 + n
		if len(k.frames) == 1 {
			k.c.Established()
		}
	}
	k.c.SetOut(out)
	return taken, nil
}

// plainFrames is what the bytes of a connection hold, written without a thought for
// speed.
func plainFrames(b []byte, limit int) (word string, frames [][]byte) {
	if w, ok := fourLetters(b[:min(4, len(b))]); ok && len(b) >= 4 {
		return w, nil
	}
	for len(b) >= 4 {
		n := int64(int32(binary.BigEndian.Uint32(b)))
		most := int64(maxGreeting)
		if len(frames) > 0 {
			most = int64(limit)
		}
		if n < 0 || n > most || n > int64(len(b)-4) {
			break
		}
		frames = append(frames, b[4:4+n])
		b = b[4+n:]
	}
	return "", frames
}

// FuzzFrames reads any bytes as a client's connection, in pieces of any size: the frames
// are those that are there, whole and in order, and each is answered.
func FuzzFrames(f *testing.F) {
	frame := func(b ...byte) []byte { return append(binary.BigEndian.AppendUint32(nil, uint32(len(b))), b...) }
	hello := frame(make([]byte, 45)...)
	f.Add([]byte{}, 1, 1)
	f.Add(hello, 1, 1)
	f.Add(hello, 4096, 100)
	f.Add([]byte("ruok"), 1, 1)
	f.Add([]byte("ruokruok\x00\x00\x00\x00"), 3, 1)
	f.Add([]byte(telnetClose), 1, 1)
	f.Add([]byte("\x00\x00\x04\x01"), 4, 1)
	f.Add(append(hello, "\xff\xff\xff\xff"...), 4, 1)
	f.Add(append(hello, "\x7f\xff\xff\xff"...), 7, 1)
	f.Add(append(hello, "\x00\x00\x10\x00"...), 7, 1)
	f.Add(append(append(hello, frame()...), frame(1, 2, 3)...), 2, 2)
	f.Add(append(append(hello, bytes.Repeat(frame(), 300)...), 0, 0, 0), 511, 7)
	f.Add(append(hello, frame(make([]byte, 40<<10)...)...), 512, 1)
	f.Fuzz(func(t *testing.T, b []byte, piece, most int) {
		const limit = 1 << 16
		var k *taker
		var nc *script
		var word string
		run := func() {
			s := NewServer(Config{MaxFrame: limit, Accept: func(c *Conn) Client {
				k = &taker{c: c, most: 1 + most&0xff}
				return k
			}, FourLetter: func(w string, nc net.Conn) bool {
				word = w
				io.WriteString(nc, "answer")
				return true
			}})
			nc = &script{in: b, piece: 1 + piece&0xfff}
			c := newConn(s, nc)
			s.wg.Add(1)
			c.serve()
			s.Close()
			if n := s.large.Load(); n != 0 {
				t.Errorf("%d bytes of large frames are held by nobody", n)
			}
		}
		// A frame is held by the taker and by the echo, and the buffers are common ones.
		(fuzztest.Limit{Factor: 64, Constant: 1 << 20}).Check(t, len(b), run)
		wantWord, want := plainFrames(b, limit)
		if word != wantWord {
			t.Fatalf("the word %q, want %q", word, wantWord)
		}
		if word != "" {
			if nc.out.String() != "answer" || len(k.frames) > 0 {
				t.Fatalf("answered %q, %d frames", nc.out.String(), len(k.frames))
			}
			return
		}
		var sent []byte
		for _, fr := range want {
			sent = append(sent, frame(fr...)...)
		}
		if len(k.frames) != len(want) || !bytes.Equal(nc.out.Bytes(), sent) {
			t.Fatalf("%d frames, want %d; %d bytes sent, want %d", len(k.frames), len(want), nc.out.Len(), len(sent))
		}
		for i := range want {
			if !bytes.Equal(k.frames[i], want[i]) {
				t.Fatalf("frame %d is %x, want %x", i, k.frames[i], want[i])
			}
		}
	})
}

var _ net.Conn = (*script)(nil)
