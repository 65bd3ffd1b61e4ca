package conn

import "sync"

const (
	inSize  = 32 << 10 // bytes read at once; a pipelining client fills it
	outSize = 16 << 10 // what a reply buffer begins with

	// keepOut is the largest reply buffer that is used again: one answer with a
	// megabyte in it must not keep that megabyte for ever.
	keepOut = 64 << 10
)

// A buffer is bytes that go to and from a pool without an allocation.
type buffer struct{ b []byte }

var (
	inPool  = sync.Pool{New: func() any { return &buffer{make([]byte, 0, inSize)} }}
	outPool = sync.Pool{New: func() any { return &buffer{make([]byte, 0, outSize)} }}
)

func getIn() *buffer { return inPool.Get().(*buffer) }

func putIn(b *buffer) {
	if cap(b.b) == inSize {
		b.b = b.b[:0]
		inPool.Put(b)
	}
}

func getOut() *buffer { return outPool.Get().(*buffer) }

func putOut(b *buffer) {
	if cap(b.b) <= keepOut {
		b.b = b.b[:0]
		outPool.Put(b)
	}
}
