package engine

import (
	"io"

	"github.com/zkcore/zkcore/plugins/storage"
)

// WriteSnapshot writes a view as Apache's snapshot: the content of a
// snapshot file, and of the stream to a learner, alike.
func WriteSnapshot(w io.Writer, v storage.View) error { return nil }

// ReadSnapshot fills an empty store from Apache's snapshot, which was taken at
// zxid and may hold more. It takes bounded memory. After an error the store is
// to be reset. Open the engine on the store behind it.
func ReadSnapshot(r io.Reader, store storage.Store, zxid int64, opts Options) error { return nil }
