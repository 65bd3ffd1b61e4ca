package engine

import (
	"maps"
	"slices"
	"strings"

	"github.com/zkcore/zkcore/core/simbug"
	"github.com/zkcore/zkcore/core/zkerr"
	"github.com/zkcore/zkcore/core/znode"
	"github.com/zkcore/zkcore/plugins/storage"
)

// quotas are those that some znode below /zookeeper/quota tells of. There are two
// sets, as there are two overlays: Apply's, whose usage goes into the tree, and
// Prepare's, which is ahead of it and says what is refused.
//
// Usage is a function of the tree and nothing else: what is at and below a path. So
// whoever replays txns, on whatever state, comes to the same.
type quotas struct {
	byPath map[string]*quota // by the path that is limited
	// touched are those whose usage may have changed by the present txn.
	touched []*quota
}

type quota struct {
	of      string
	limited bool         // there is a limits node
	clear   bool         // its data is understood
	kept    bool         // there is a stats node
	fresh   bool         // it was made by the present txn: usage is to be counted
	touched bool         // it is in quotas.touched
	limits  znode.Limits // if clear
	usage   znode.Usage  // if kept
}

func newQuotas() quotas { return quotas{byPath: map[string]*quota{}} }

func (s *quotas) clone() quotas {
	c := newQuotas()
	for of, q := range s.byPath {
		q := *q
		q.touched = false
		c.byPath[of] = &q
	}
	return c
}

// concern says whether a change at path may have to do with quotas. Where there are
// none it takes a comparison or two.
func (s *quotas) concern(path string) bool { return len(s.byPath) > 0 || znode.BelowQuota(path) }

func (s *quotas) touch(q *quota) {
	if !q.touched {
		q.touched = true
		s.touched = append(s.touched, q)
	}
}

// add counts a change at path in every quota above it.
func (s *quotas) add(path string, count, bytes int64) {
	for p := path; p != znode.Root; p = znode.Parent(p) {
		if q := s.byPath[p]; q != nil && q.kept {
			q.usage.Count += count
			q.usage.Bytes += bytes
			s.touch(q)
		}
	}
}

// put takes note of a znode that is new, or has other data than before.
func (s *quotas) put(path string, data []byte, isNew bool, was int32) {
	if !znode.BelowQuota(path) {
		count := int64(0)
		if isNew {
			count = 1
		}
		s.add(path, count, int64(len(data))-int64(was))
		return
	}
	of, role := znode.RoleOf(path)
	if role == znode.NoRole {
		return
	}
	q := s.byPath[of]
	if q == nil {
		of = strings.Clone(of)
		q = &quota{of: of}
		s.byPath[of] = q
	}
	if role == znode.LimitsRole {
		q.limited = true
		q.limits, q.clear = znode.ParseLimits(data)
		return
	}
	if !q.kept {
		q.kept, q.fresh = true, true
	}
	s.touch(q) // else it would have what the client wrote
}

// remove takes note of a znode that is gone.
func (s *quotas) remove(path string, size int32) {
	if !znode.BelowQuota(path) {
		s.add(path, -1, -int64(size))
		return
	}
	of, role := znode.RoleOf(path)
	q := s.byPath[of]
	if role == znode.NoRole || q == nil {
		return
	}
	if role == znode.LimitsRole {
		q.limited = false
	} else {
		q.kept, q.fresh = false, false
	}
	if !q.limited && !q.kept {
		delete(s.byPath, of)
	}
}

// settle ends a txn: what has to be counted is counted in the state behind it. Then
// it calls fn, if that is not nil, for each usage that may have changed.
func (s *quotas) settle(o *overlay, fn func(*quota)) {
	fresh := 0
	for _, q := range s.touched {
		if q.kept && q.fresh {
			fresh++
		}
	}
	var changed []string
	if fresh > 1 {
		// A multi of one packet makes thousands, and as many changes: so none goes through all of those.
		changed = slices.Sorted(maps.Keys(o.cells))
	}
	for i, q := range s.touched {
		s.touched[i] = nil
		q.touched = false
		if !q.kept {
			continue
		}
		if q.fresh {
			q.fresh = false
			if simbug.On("usage-from-nothing") {
				continue // all is counted from now on
			}
			q.usage = o.usage(q.of, changed)
		}
		if fn != nil {
			fn(q)
		}
	}
	s.touched = s.touched[:0]
}

// usage counts what is at and below path: what the view has there, and then what
// the changes make of it. sorted has the paths of all changes, if it is not nil.
func (o *overlay) usage(path string, sorted []string) znode.Usage {
	u, err := usageIn(o.view, path)
	note := func(err error) {
		if err != nil && o.err == nil {
			o.err = err
		}
	}
	note(err)
	var changed []string
	if sorted != nil {
		if _, ok := slices.BinarySearch(sorted, path); ok {
			changed = append(changed, path)
		}
		for i, _ := slices.BinarySearch(sorted, path+"/"); i < len(sorted) && below(sorted[i], path); i++ {
			changed = append(changed, sorted[i])
		}
	} else {
		for p := range o.cells {
			if p == path || below(p, path) {
				changed = append(changed, p)
			}
		}
		slices.Sort(changed) // a store may do its work in the order in which it is asked
	}
	for _, p := range changed {
		if znode.BelowQuota(p) {
			continue
		}
		c := o.cells[p]
		rec, ok, err := o.view.Get(p)
		note(err)
		if ok {
			u.Count--
			u.Bytes -= int64(znode.Head(rec.Head).DataLength())
		}
		if c.exists {
			u.Count++
			u.Bytes += int64(c.Head().DataLength())
		}
	}
	return u
}

func below(path, above string) bool {
	return len(path) > len(above) && path[len(above)] == '/' && strings.HasPrefix(path, above)
}

// usageIn counts what is at and below path in a view, as far as it counts in
// quotas.
func usageIn(view storage.View, path string) (znode.Usage, error) {
	var u znode.Usage
	var failed error
	add := func(path string) (children bool) {
		rec, ok, err := view.Get(path)
		switch {
		case err != nil:
			failed = err
			return false
		case !ok:
			return false
		}
		h := znode.Head(rec.Head)
		if !znode.BelowQuota(path) {
			u.Count++
			u.Bytes += int64(h.DataLength())
		}
		return h.NumChildren() > 0
	}
	err := subtree(view, path, add)
	if err == nil {
		err = failed
	}
	return u, err
}

// subtree calls fn for path and what is below it as long as fn says that there
// may be more.
func subtree(view storage.View, path string, fn func(path string) (children bool)) error {
	todo := []string{path}
	for len(todo) > 0 {
		path := todo[len(todo)-1]
		todo = todo[:len(todo)-1]
		if !fn(path) {
			continue
		}
		err := view.Children(path, func(name string) bool {
			todo = append(todo, path+"/"+name)
			return true
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// loadQuotas reads them from the store. If it was not this engine that kept their
// usage, all is counted: a snapshot of Apache's may have been written while it
// changed.
func (e *Engine) loadQuotas() error {
	e.quotas = newQuotas()
	counted := e.state.counted
	e.state.counted = true
	var failed error
	err := subtree(e.view, znode.Quota, func(path string) bool {
		rec, ok, err := e.view.Get(path)
		if err != nil {
			failed = err
		}
		if err != nil || !ok {
			return false
		}
		if _, role := znode.RoleOf(path); role != znode.NoRole {
			e.quotas.put(path, rec.Data, true, 0)
			if of, _ := znode.RoleOf(path); role == znode.StatsRole && counted {
				q := e.quotas.byPath[of]
				q.usage, counted = znode.ParseUsage(rec.Data)
			}
		}
		return znode.Head(rec.Head).NumChildren() > 0
	})
	if err == nil {
		err = failed
	}
	if err != nil || len(e.quotas.touched) == 0 {
		return err
	}
	for _, q := range e.quotas.touched {
		q.fresh = false
	}
	if counted {
		e.quotas.settle(&e.applier.overlay, nil)
		return nil
	}
	// One walk for all of them.
	for _, q := range e.quotas.touched {
		q.usage = znode.Usage{}
	}
	err = e.view.Walk(func(path string, rec storage.Record) bool {
		if !znode.BelowQuota(path) {
			e.quotas.add(path, 1, int64(len(rec.Data)))
		}
		return true
	})
	e.settleQuotas()
	return err
}

// settleQuotas writes down what the present txn has made of the usage.
func (e *Engine) settleQuotas() {
	if len(e.quotas.touched) == 0 {
		return
	}
	a := &e.applier
	e.quotas.settle(&a.overlay, func(q *quota) {
		path := znode.StatsPath(q.of)
		n, ok := a.peek(path)
		if !ok {
			return
		}
		data := q.usage.Append(nil)
		c := a.own(path, n)
		e.state.dataSize += int64(len(data)) - int64(c.Head().DataLength())
		c.Head().SetDataLength(len(data))
		a.changedData(path, c, data)
		a.put(path, c)
	})
}

// A QuotaExcess is a write that goes beyond a quota.
type QuotaExcess struct {
	Path       string // that the quota is on
	Write      string // where the write is
	Bytes      bool   // of bytes, else of znodes
	Hard       bool   // refused for it
	Now, Limit int64  // what there would be; what there may be
}

// A quotaChange is what a txn that is being prepared will change.
type quotaChange struct {
	path  string
	data  []byte
	size  int32 // of the data that is there
	gone  bool
	isNew bool
}

// checkQuota says whether a write at path, of so many znodes and bytes more, is
// within the one quota that governs it: that of the deepest limits. In a multi each
// part is checked as if it were alone, as Apache does; all that was prepared before
// counts.
func (e *Engine) checkQuota(path string, count, bytes int64) zkerr.Code {
	p := &e.preparer
	if len(p.quotas.byPath) == 0 || znode.BelowQuota(path) {
		return zkerr.OK
	}
	all := p.quotas.byPath
	if simbug.On("quota-of-the-past") {
		all = e.quotas.byPath // what is not applied yet does not count
	}
	var q *quota
	for of := path; of != znode.Root && q == nil; of = znode.Parent(of) {
		if x := all[of]; x != nil && x.limited {
			q = x
		}
	}
	switch {
	case q == nil:
		return zkerr.OK
	case !q.clear:
		return zkerr.MarshallingError
	case !q.kept:
		return zkerr.OK
	}
	check := func(isBytes bool, more, now, soft, hard int64) zkerr.Code {
		x := QuotaExcess{Path: q.of, Write: path, Bytes: isBytes, Hard: hard > -1, Now: now + more, Limit: soft}
		if x.Hard {
			x.Limit = hard
		}
		if more == 0 || x.Limit <= -1 || x.Now <= x.Limit {
			return zkerr.OK
		}
		if e.opts.OnQuotaExcess != nil {
			e.opts.OnQuotaExcess(x)
		}
		if x.Hard {
			return zkerr.QuotaExceeded
		}
		return zkerr.OK
	}
	if code := check(false, count, q.usage.Count, q.limits.Count, q.limits.CountHard); code != zkerr.OK {
		return code
	}
	return check(true, bytes, q.usage.Bytes, q.limits.Bytes, q.limits.BytesHard)
}

// noteQuota keeps a change until the txn is whole.
func (p *preparer) noteQuota(c quotaChange) {
	if p.enforced && p.quotas.concern(c.path) {
		p.changes = append(p.changes, c)
	}
}

// settleQuotas takes note of all changes of a txn that was prepared.
func (p *preparer) settleQuotas() {
	if len(p.changes) == 0 {
		return
	}
	for _, c := range p.changes {
		if c.gone {
			p.quotas.remove(c.path, c.size)
		} else {
			p.quotas.put(c.path, c.data, c.isNew, c.size)
		}
	}
	p.quotas.settle(&p.overlay, nil)
	p.forgetChanges()
}

func (p *preparer) forgetChanges() {
	clear(p.changes)
	p.changes = p.changes[:0]
}

// A QuotaStatus is what is to be seen of a quota.
type QuotaStatus struct {
	Path    string
	Limited bool         // there are limits that are understood
	Limits  znode.Limits // if so
	Kept    bool         // there is a usage
	Usage   znode.Usage  // if so
}

// Quotas returns all quotas, in the order of their paths. It runs beside nothing that
// changes the state.
func (e *Engine) Quotas() []QuotaStatus {
	if len(e.quotas.byPath) == 0 {
		return nil
	}
	list := make([]QuotaStatus, 0, len(e.quotas.byPath))
	for _, of := range slices.Sorted(maps.Keys(e.quotas.byPath)) {
		q := e.quotas.byPath[of]
		list = append(list, QuotaStatus{Path: of, Limited: q.limited && q.clear, Limits: q.limits, Kept: q.kept, Usage: q.usage})
	}
	return list
}
