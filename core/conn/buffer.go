package conn

import "sync"

const (
	inSize  = 32 << 10 // bytes read at once; a pipelining client fills it
	outSize = 16 << 10 // what a reply buffer begins with
	// shortSize is what is kept for a connection on which little is to come or to go: the
	// greeting, an event. A hundred thousand connections may be told of one change.
	shortSize = 512

	// keepOut is the largest reply buffer that is used again: one answer with a
	// megabyte in it must not keep that megabyte for ever.
	keepOut = 64 << 10
)

// A buffer is bytes that go to and from a pool without an allocation.
type buffer struct{ b []byte }

var (
	inPool  = sync.Pool{New: func() any { return &buffer{make([]byte, 0, inSize)} }}
	outPool = sync.Pool{New: func() any { return &buffer{make([]byte, 0, outSize)} }}

	shortPool = sync.Pool{New: func() any { return &buffer{make([]byte, 0, shortSize)} }}
)

func getIn() *buffer { return inPool.Get().(*buffer) }

func putIn(b *buffer) {
	switch cap(b.b) {
	case inSize:
		b.b = b.b[:0]
		inPool.Put(b)
	case shortSize:
		putShort(b)
	}
}

func getShort() *buffer { return shortPool.Get().(*buffer) }

func putShort(b *buffer) {
	b.b = b.b[:0]
	shortPool.Put(b)
}

func getOut() *buffer { return outPool.Get().(*buffer) }

func putOut(b *buffer) {
	switch n := cap(b.b); {
	case n == shortSize:
		putShort(b)
	case outSize <= n && n <= keepOut:
		b.b = b.b[:0]
		outPool.Put(b)
	}
}
