package mem

import (
	"encoding/binary"

	"github.com/zkcore/zkcore/plugins/storage"
)

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

// A record is its block, and what is behind it in memory. It is read where it
// is: a decoded copy would cost more than the reading.
type record []byte

// record returns the record at r.
func (a *arena) record(r ref) record { return record(a.at(r)) }

func (x record) flags() byte { return x[0] }
func (x record) table() byte { return x[1] }
func (x record) dead() bool  { return x[0]&flagDead != 0 }

// parts returns where the key begins, and the lengths of key, head and data.
func (x record) parts() (at, key, head, data int) {
	b := x[:narrowHeader]
	flags := b[0]
	at = narrowHeader
	if flags&flagWide == 0 {
		key = int(binary.LittleEndian.Uint16(b[2:]))
		head = int(binary.LittleEndian.Uint16(b[4:]))
		data = int(binary.LittleEndian.Uint16(b[6:]))
	} else {
		at, key, head, data = x.wideParts()
	}
	if flags&flagVersion != 0 {
		at += versionSize
	}
	return at, key, head, data
}

func (x record) wideParts() (at, key, head, data int) {
	return wideHeader, int(binary.LittleEndian.Uint32(x[4:])), int(binary.LittleEndian.Uint32(x[8:])), int(binary.LittleEndian.Uint32(x[12:]))
}

func (x record) key() []byte {
	at, key, _, _ := x.parts()
	return x[at : at+key : at+key]
}

func (x record) head() []byte {
	at, key, head, _ := x.parts()
	at += key
	return x[at : at+head : at+head]
}

func (x record) data() []byte {
	if x.flags()&flagNil != 0 {
		return nil
	}
	at, key, head, data := x.parts()
	at += key + head
	return x[at : at+data : at+data]
}

// record returns the head and the data.
func (x record) record() storage.Record {
	at, key, head, data := x.parts()
	at += key
	rec := storage.Record{Head: x[at : at+head : at+head]}
	if x.flags()&flagNil == 0 {
		at += head
		rec.Data = x[at : at+data : at+data]
	}
	return rec
}

// size is how much of its block the record takes.
func (x record) size() int {
	at, key, head, data := x.parts()
	return at + key + head + data
}

// epoch is that of a record with flagVersion; all others were always there.
func (x record) epoch() uint64 {
	if x.flags()&flagVersion == 0 {
		return 0
	}
	at, _, _, _ := x.parts()
	return binary.LittleEndian.Uint64(x[at-versionSize:])
}

// before is the record that this one replaced, if it has flagVersion.
func (x record) before() ref {
	if x.flags()&flagVersion == 0 {
		return 0
	}
	at, _, _, _ := x.parts()
	return ref(binary.LittleEndian.Uint32(x[at-4:]))
}

// is says whether this is the record of a key, and not a list or another one.
func (x record) is(table byte, key string) bool {
	if x.flags()&flagList != 0 || x.table() != table {
		return false
	}
	at, n, _, _ := x.parts()
	return n == len(key) && string(x[at:at+n]) == key
}

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
