package main

import (
	"context"
	"encoding/binary"
	"fmt"
	"time"

	"github.com/zkcore/zkcore/core/proto"
	"github.com/zkcore/zkcore/core/zkerr"
)

// lone measures what one client waits for one set: one connection, one request at a time, one
// goroutine that writes and reads.
func (r *run) lone(ctx context.Context, m *measurement) error {
	if err := r.prepare(ctx); err != nil {
		return err
	}
	s, err := dial(r.Servers[0], r.SessionTimeout, 0, nil)
	if err != nil {
		return err
	}
	defer s.close()
	return m.measure(ctx, []func(context.Context, *tally) error{func(ctx context.Context, t *tally) error {
		stop := context.AfterFunc(ctx, func() { s.nc.SetDeadline(time.Unix(1, 0)) })
		defer stop()
		f := newFrameReader(s.nc)
		value := makeValue(r.Size)
		var buf, path []byte
		for n := int64(0); r.phase.Load() != over; n++ {
			if r.Count > 0 && r.budget.Add(-1) < 0 {
				return nil
			}
			path = appendZnode(path[:0], int(n%int64(r.Znodes)))
			buf = appendSet(buf[:0], xidOf(n), path, value)
			begin := clock()
			if _, err := s.nc.Write(buf); err != nil {
				return err
			}
			b, err := f.next()
			if err != nil {
				return err
			}
			took := clock() - begin
			if len(b) < headerSize-4 || int32(binary.BigEndian.Uint32(b)) != xidOf(n) {
				return fmt.Errorf("not the reply to a %v: %x", proto.OpSetData, b)
			}
			if code := int32(binary.BigEndian.Uint32(b[12:])); code != 0 {
				t.fail(zkerr.Code(code))
			}
			if r.phase.Load() == measuring {
				t.ops++
				t.lat.record(took)
			}
		}
		return nil
	}})
}
