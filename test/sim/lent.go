package sim

import "github.com/zkcore/zkcore/plugins/storage"

// lent are the views of an open store that its process has. When that ends, in whatever way, they are released:
// the system would take back the memory, the file and its lock.
type lent struct {
	views map[*lentView]bool
	gone  bool
}

type lentView struct {
	storage.View
	of *lent
}

// lend hands out a view.
func (l *lent) lend(of storage.View) storage.View {
	v := &lentView{of, l}
	switch {
	case l.gone:
		of.Release()
	case l.views == nil:
		l.views = map[*lentView]bool{v: true}
	default:
		l.views[v] = true
	}
	return v
}

func (v *lentView) Release() {
	if v.of.views[v] {
		delete(v.of.views, v)
		v.View.Release()
	}
}

// end releases all, and says whether that was to be done.
func (l *lent) end() bool {
	if l.gone {
		return false
	}
	l.gone = true
	for v := range l.views {
		v.Release()
	}
	return true
}

// A memory is the open store of a process that has nothing on disk.
type memory struct {
	storage.Store
	lent
}

func (m *memory) View() storage.View { return m.lend(m.Store.View()) }

// Close implements storage.Store.
func (m *memory) Close() error {
	if !m.end() {
		return storage.ErrClosed
	}
	return m.Store.Close()
}
