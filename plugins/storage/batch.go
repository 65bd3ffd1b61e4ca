package storage

// OpKind says what an Op of a batch does.
type OpKind uint8

// The kinds of Op.
const (
	// OpPut sets the whole record of a path.
	OpPut OpKind = iota + 1
	// OpPutHead replaces the head of a record that exists, at its old length, and
	// leaves the data alone: a parent's stat changes with each child, and its data
	// is not to be rewritten for that. A batch that does it to a record that isn't
	// there, or that has a head of another length, is refused.
	OpPutHead
	// OpDelete removes the record of a path; none there is no error.
	OpDelete
	// OpTablePut sets a table's entry.
	OpTablePut
	// OpTableDelete removes a table's entry; none there is no error.
	OpTableDelete
)

// An Op is one change of a batch.
type Op struct {
	Kind OpKind
	// Path is the znode's path, or the key of a table's entry.
	Path string
	// Table is the table's name, for table ops.
	Table string
	// Head and Data are the new record; Data is the value for OpTablePut.
	Head, Data []byte
}

// A Batch is a list of changes that are committed together. Its ops take effect
// in order, so a later one on the same path or key wins. The memory that ops
// refer to belongs to whoever built the batch.
//
// A path is "/", or a slash and a name for each level: "/a/b". What names look
// like otherwise is not the store's business. The caller sees to it that a
// record's parent is there before it is put, or is put earlier in the same
// batch, and that a record is deleted after its children; a store need not
// check that.
type Batch struct {
	// Zxid is what Applied returns once the batch is committed.
	Zxid int64
	Ops  []Op
}

// Put sets the record of path.
func (b *Batch) Put(path string, head, data []byte) {
	b.Ops = append(b.Ops, Op{Kind: OpPut, Path: path, Head: head, Data: data})
}

// PutHead replaces the head of the record of path, which exists and has a head
// of the same length.
func (b *Batch) PutHead(path string, head []byte) {
	b.Ops = append(b.Ops, Op{Kind: OpPutHead, Path: path, Head: head})
}

// Delete removes the record of path.
func (b *Batch) Delete(path string) {
	b.Ops = append(b.Ops, Op{Kind: OpDelete, Path: path})
}

// TablePut sets an entry of a table.
func (b *Batch) TablePut(table, key string, value []byte) {
	b.Ops = append(b.Ops, Op{Kind: OpTablePut, Table: table, Path: key, Data: value})
}

// TableDelete removes an entry of a table.
func (b *Batch) TableDelete(table, key string) {
	b.Ops = append(b.Ops, Op{Kind: OpTableDelete, Table: table, Path: key})
}

// Reset empties the batch and keeps its memory.
func (b *Batch) Reset() {
	clear(b.Ops)
	b.Ops = b.Ops[:0]
	b.Zxid = 0
}
