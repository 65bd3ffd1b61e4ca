package process

import (
	"encoding/binary"

	"github.com/zkcore/zkcore/plugins/storage"
)

// A batch crosses as the zxid and its ops, each of them a kind and what that kind has. Records,
// names and entries of a scan follow each other in the same way. A piece of a stream may end
// anywhere in a batch, and only between two things in a scan.

// chunkSize is how much goes into a message of a stream, roughly.
const chunkSize = 256 << 10

func appendBatch(dst []byte, b *storage.Batch) []byte {
	dst = binary.AppendVarint(dst, b.Zxid)
	dst = binary.AppendUvarint(dst, uint64(len(b.Ops)))
	for i := range b.Ops {
		op := &b.Ops[i]
		dst = append(dst, byte(op.Kind))
		switch op.Kind {
		case storage.OpPut:
			dst = appendBytes(dst, op.Path)
			dst = appendBytes(dst, op.Head)
			dst = appendOptional(dst, op.Data)
		case storage.OpPutHead:
			dst = appendBytes(dst, op.Path)
			dst = appendBytes(dst, op.Head)
		case storage.OpTablePut:
			dst = appendBytes(dst, op.Table)
			dst = appendBytes(dst, op.Path)
			dst = appendBytes(dst, op.Data)
		case storage.OpTableDelete:
			dst = appendBytes(dst, op.Table)
			dst = appendBytes(dst, op.Path)
		default:
			dst = appendBytes(dst, op.Path)
		}
	}
	return dst
}

// minOp is the least that an op takes: its kind, and the length of its path.
const minOp = 2

// decodeBatch makes a batch of what crossed. Slices in it are pieces of b; ops is memory to
// be used again.
func decodeBatch(b []byte, ops []storage.Op) (storage.Batch, error) {
	r := reader{b: b}
	batch := storage.Batch{Zxid: r.int(), Ops: ops[:0]}
	for range r.count(minOp) {
		if r.bad {
			break
		}
		op := storage.Op{Kind: storage.OpKind(r.byte())}
		switch op.Kind {
		case storage.OpPut:
			op.Path, op.Head, op.Data = r.string(), r.bytes(), r.optional()
		case storage.OpPutHead:
			op.Path, op.Head = r.string(), r.bytes()
		case storage.OpTablePut:
			op.Table, op.Path, op.Data = r.string(), r.string(), r.bytes()
		case storage.OpTableDelete:
			op.Table, op.Path = r.string(), r.string()
		default: // a kind that is none is for the store to refuse
			op.Path = r.string()
		}
		batch.Ops = append(batch.Ops, op)
	}
	return batch, r.err()
}

// chunks cuts b into pieces of a message each.
func chunks(b []byte, fn func(piece []byte) error) error {
	for {
		piece := b[:min(len(b), chunkSize)]
		b = b[len(piece):]
		if err := fn(piece); err != nil || len(b) == 0 {
			return err
		}
	}
}

// scanRecords calls fn for each record in a piece of a walk, until it returns false.
func scanRecords(b []byte, fn func(path string, rec storage.Record) bool) (more bool, err error) {
	r := reader{b: b}
	for len(r.b) > 0 {
		path, rec := r.string(), storage.Record{Head: r.bytes(), Data: r.optional()}
		if r.bad {
			break
		}
		if !fn(path, rec) {
			return false, nil
		}
	}
	return true, r.err()
}

func appendRecord(dst []byte, path string, rec storage.Record) []byte {
	dst = appendBytes(dst, path)
	dst = appendBytes(dst, rec.Head)
	return appendOptional(dst, rec.Data)
}

// scanNames does the same for children.
func scanNames(b []byte, fn func(name string) bool) (more bool, err error) {
	r := reader{b: b}
	for len(r.b) > 0 {
		name := r.string()
		if r.bad {
			break
		}
		if !fn(name) {
			return false, nil
		}
	}
	return true, r.err()
}

// scanEntries does the same for a table.
func scanEntries(b []byte, fn func(key string, value []byte) bool) (more bool, err error) {
	r := reader{b: b}
	for len(r.b) > 0 {
		key, value := r.string(), r.bytes()
		if r.bad {
			break
		}
		if !fn(key, value) {
			return false, nil
		}
	}
	return true, r.err()
}
