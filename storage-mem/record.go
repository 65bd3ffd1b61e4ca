package mem

import "encoding/binary"

// A record's block:
//
//	flags   1 byte
//	table   1 byte: 0 for a znode, else the number of the table whose entry it is
//	key     length of the key, 2 bytes
//	head    length of the head, 2 bytes
//	data    length of the data, 2 bytes
//	epoch   8 bytes, if flagVersion is set: the epoch that made this record
//	before  4 bytes, if flagVersion is set: the record that it replaced, or 0
//	key, head and data
//
// With flagWide the header is that of a record with something long:
//
//	flags 1, table 1, nothing 2, key 4, head 4, data 4
//
// Numbers are little-endian. A view older than epoch goes on to before. That
// one may be freed already, but only when no such view is left.
const (
	flagWide    = 1 << iota // see above
	flagVersion             // has epoch and before
	flagDead                // says that there is no record
	flagNil                 // data is nil
	flagList                // not a record but a list, see list.go
	flagRoot                // of a list: its refs are leaves
)

const (
	narrowHeader = 8
	wideHeader   = 16
	versionSize  = 12

	// maxPart bounds a key, head and data, each and together.
	maxPart = 1<<31 - 1<<16
)

// A record is a decoded block.
type record struct {
	b               []byte // from the block's begin on
	flags           byte
	table           byte
	at              int // where the key begins
	nkey, nhead, nd int
}

// record decodes the block at r.
func (a *arena) record(r ref) record { return decode(a.at(r)) }

// decode decodes the block at the begin of b.
func decode(b []byte) record {
	x := record{b: b, flags: b[0], table: b[1], at: narrowHeader}
	if x.flags&flagWide == 0 {
		x.nkey = int(binary.LittleEndian.Uint16(b[2:]))
		x.nhead = int(binary.LittleEndian.Uint16(b[4:]))
		x.nd = int(binary.LittleEndian.Uint16(b[6:]))
	} else {
		x.nkey = int(binary.LittleEndian.Uint32(b[4:]))
		x.nhead = int(binary.LittleEndian.Uint32(b[8:]))
		x.nd = int(binary.LittleEndian.Uint32(b[12:]))
		x.at = wideHeader
	}
	if x.flags&flagVersion != 0 {
		x.at += versionSize
	}
	return x
}

func (x *record) key() []byte { return x.b[x.at : x.at+x.nkey : x.at+x.nkey] }

func (x *record) head() []byte {
	at := x.at + x.nkey
	return x.b[at : at+x.nhead : at+x.nhead]
}

func (x *record) data() []byte {
	if x.flags&flagNil != 0 {
		return nil
	}
	at := x.at + x.nkey + x.nhead
	return x.b[at : at+x.nd : at+x.nd]
}

// size is how much of its block the record takes.
func (x *record) size() int { return x.at + x.nkey + x.nhead + x.nd }

// epoch is that of a record with flagVersion; all others were always there.
func (x *record) epoch() uint64 {
	if x.flags&flagVersion == 0 {
		return 0
	}
	return binary.LittleEndian.Uint64(x.b[x.at-versionSize:])
}

// before is the record that this one replaced, if it has flagVersion.
func (x *record) before() ref {
	if x.flags&flagVersion == 0 {
		return 0
	}
	return ref(binary.LittleEndian.Uint32(x.b[x.at-4:]))
}

func (x *record) dead() bool { return x.flags&flagDead != 0 }

// A draft is a record to be written.
type draft struct {
	flags  byte // flagVersion and flagDead
	table  byte
	key    string
	head   []byte
	data   []byte
	epoch  uint64
	before ref
}

func (d *draft) wide() bool {
	return len(d.key)|len(d.head)|len(d.data) >= 1<<16
}

// size is how large the record will be.
func (d *draft) size() int {
	n := narrowHeader + len(d.key) + len(d.head) + len(d.data)
	if d.wide() {
		n += wideHeader - narrowHeader
	}
	if d.flags&flagVersion != 0 {
		n += versionSize
	}
	return n
}

// write puts the record into b.
func (d *draft) write(b []byte) {
	flags := d.flags
	if d.data == nil {
		flags |= flagNil
	}
	at := narrowHeader
	if d.wide() {
		flags |= flagWide
		at = wideHeader
		binary.LittleEndian.PutUint16(b[2:], 0)
		binary.LittleEndian.PutUint32(b[4:], uint32(len(d.key)))
		binary.LittleEndian.PutUint32(b[8:], uint32(len(d.head)))
		binary.LittleEndian.PutUint32(b[12:], uint32(len(d.data)))
	} else {
		binary.LittleEndian.PutUint16(b[2:], uint16(len(d.key)))
		binary.LittleEndian.PutUint16(b[4:], uint16(len(d.head)))
		binary.LittleEndian.PutUint16(b[6:], uint16(len(d.data)))
	}
	b[0], b[1] = flags, d.table
	if flags&flagVersion != 0 {
		binary.LittleEndian.PutUint64(b[at:], d.epoch)
		binary.LittleEndian.PutUint32(b[at+8:], uint32(d.before))
		at += versionSize
	}
	at += copy(b[at:], d.key)
	at += copy(b[at:], d.head)
	copy(b[at:], d.data)
}

// add writes the record into a block of its own.
func (a *arena) add(d *draft) ref {
	r := a.alloc(d.size())
	d.write(a.at(r))
	return r
}
