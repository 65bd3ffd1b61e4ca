package znode

// A Kind says when a znode goes by itself.
type Kind uint8

// The kinds.
const (
	Persistent Kind = iota // never
	Ephemeral              // with its session
	Container              // with its last child
	TTL                    // when nobody set its data for a time, and it has no children
)

// ContainerOwner is the stored owner of a container.
const ContainerOwner int64 = -1 << 63

// MaxTTL is the longest time to live, in milliseconds.
const MaxTTL int64 = 1<<40 - 1

const ttlMask int64 = -1 << 56 // 0xff00…

// TTLOwner is the stored owner of a znode with a time to live.
func TTLOwner(ttlMS int64) int64 { return ttlMask | ttlMS }

// TTLOf is the time to live, in milliseconds, in a stored owner that is a TTL's.
func TTLOf(owner int64) int64 { return owner & MaxTTL }

// KindOf says what kind of znode a stored owner stands for. Without extended
// types there are no TTL nodes, and server 255 may have sessions.
func KindOf(owner int64, extended bool) Kind {
	switch {
	case owner == 0:
		return Persistent
	case owner == ContainerOwner:
		return Container
	case extended && owner&ttlMask == ttlMask:
		return TTL
	}
	return Ephemeral
}
