package process

import (
	"encoding/binary"
	"io"

	pb "github.com/zkcore/zkcore/plugins/process/modulepb"
)

// A line carries frames in both directions, in order. One goroutine at a time sends, and one
// receives.
type line interface {
	// send sends whole frames, and waits until they are gone.
	send(b []byte) error
	// try sends as much of them as goes without waiting for the other side. The rest is sent
	// before anything else.
	try(b []byte) (n int, err error)
	// next receives a frame, which is the caller's.
	next() ([]byte, error)
	close()
}

// A frameReader takes frames out of a stream. A frame is a piece of what was read, not a copy, and
// nobody writes to it again.
type frameReader struct {
	r   io.Reader
	max int    // no frame is longer
	b   []byte // was read and not taken; behind it there is room
}

// readSize is how much is read at a time, if there is as much.
const readSize = 64 << 10

func (f *frameReader) next() ([]byte, error) {
	for {
		frame, rest, need, err := cutFrame(f.b, f.max)
		if err != nil {
			return nil, err
		}
		if frame != nil {
			f.b = rest
			return frame, nil
		}
		if err := f.read(need); err != nil {
			return nil, err
		}
	}
}

// cutFrame takes the frame off the front of b. If it is not all there, need is how long b is to be
// at least.
func cutFrame(b []byte, max int) (frame, rest []byte, need int, err error) {
	n, w := binary.Uvarint(b)
	switch {
	case w == 0 && len(b) < headSize:
		return nil, b, len(b) + 1, nil
	case w <= 0 || n == 0 || n > uint64(max):
		return nil, b, 0, errGarbage
	case n > uint64(len(b)-w):
		return nil, b, w + int(n), nil
	}
	end := w + int(n)
	return b[w:end:end], b[end:], 0, nil
}

// read reads on, into memory that grows with what comes and not with what is claimed.
func (f *frameReader) read(need int) error {
	if room := cap(f.b) - len(f.b); room == 0 || room < readSize/16 && cap(f.b) < need {
		size := max(readSize, min(need, 2*len(f.b)))
		f.b = append(make([]byte, 0, size), f.b...)
	}
	n, err := f.r.Read(f.b[len(f.b):cap(f.b)])
	f.b = f.b[:len(f.b)+n]
	if n > 0 {
		return nil
	}
	if err == nil {
		err = io.ErrNoProgress
	}
	return err
}

// maxFrames is how much is put into one message of a grpcLine, if it is more than one frame.
const maxFrames = 1 << 20

// A grpcLine is a stream of gRPC. It is what there is where a process can't be started with a
// socket, or does not want it.
type grpcLine struct {
	stream interface {
		Send(*pb.Frames) error
		Recv() (*pb.Frames, error)
	}
	end func() // may be nil
	b   []byte // the rest of the last message
}

func (l *grpcLine) send(b []byte) error {
	for len(b) > 0 {
		n := 0
		for n < len(b) {
			size, w := binary.Uvarint(b[n:])
			if end := n + w + int(size); n == 0 || end <= maxFrames {
				n = end
			} else {
				break
			}
		}
		if err := l.stream.Send(&pb.Frames{Data: b[:n]}); err != nil {
			return err
		}
		b = b[n:]
	}
	return nil
}

// try leaves all to send: gRPC may wait.
func (l *grpcLine) try(b []byte) (int, error) { return 0, nil }

func (l *grpcLine) next() ([]byte, error) {
	for len(l.b) == 0 {
		msg, err := l.stream.Recv()
		if err != nil {
			return nil, err
		}
		l.b = msg.GetData()
	}
	frame, rest, _, err := cutFrame(l.b, len(l.b))
	if err == nil && frame == nil {
		err = errGarbage // no frame is in two messages
	}
	l.b = rest
	return frame, err
}

func (l *grpcLine) close() {
	if l.end != nil {
		l.end()
	}
}
