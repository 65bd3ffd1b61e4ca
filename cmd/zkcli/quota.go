package main

import (
	"errors"
	"slices"
	"strconv"
	"strings"

	"github.com/zkcore/zkcore/core/zkerr"
	"github.com/zkcore/zkcore/core/znode"
	"github.com/zkcore/zkcore/internal/client"
)

// What Apache's shell does with quotas: two znodes for each, below /zookeeper/quota, and no quota above or
// below another one.

// limitOptions are the options that a limit is set and deleted by.
var limitOptions = []struct {
	letter byte
	znodes bool // of znodes, else of bytes
	of     func(*znode.Limits) *int64
}{
	{'n', true, func(l *znode.Limits) *int64 { return &l.Count }},
	{'b', false, func(l *znode.Limits) *int64 { return &l.Bytes }},
	{'N', true, func(l *znode.Limits) *int64 { return &l.CountHard }},
	{'B', false, func(l *znode.Limits) *int64 { return &l.BytesHard }},
}

func (c *call) setQuota() error {
	set := znode.NoLimits
	given := false
	for _, o := range limitOptions {
		text, ok := c.opts.values[o.letter]
		if !ok {
			continue
		}
		given = true
		bits := 64
		if o.znodes {
			bits = 32
		}
		v, err := strconv.ParseInt(text, 10, bits)
		switch {
		case err != nil:
			return failf("-%c argument must be a whole number", o.letter)
		case o.znodes && v <= 0:
			return failf("the num quota must be greater than zero")
		case v < 0:
			return failf("the bytes quota must be greater than or equal to zero")
		}
		*o.of(&set) = v
	}
	if !given {
		return failf("%s", c.cmd.usage(c.raw[0]))
	}
	path, err := c.path()
	if err != nil {
		return err
	}
	switch {
	case strings.HasPrefix(path, znode.Quota):
		return failf("cannot set a quota under the path: %s", znode.Quota)
	case path == znode.Root:
		return failf("the root can have no quota")
	}
	if _, err := c.zk.Exists(c.ctx, path); errors.Is(err, zkerr.NoNode) {
		return failf("%s does not exist.", path)
	} else if err != nil {
		return err
	}
	if err := c.noOtherQuota(path); err != nil {
		return err
	}
	for _, p := range append(above(znode.Quota+path), znode.Quota+path) {
		if err := c.ensure(p, nil); err != nil {
			return err
		}
	}
	now := set
	r, err := c.zk.Get(c.ctx, znode.LimitsPath(path))
	switch {
	case errors.Is(err, zkerr.NoNode):
		if err := c.ensure(znode.LimitsPath(path), set.Append(nil)); err != nil {
			return err
		}
		if err := c.ensure(znode.StatsPath(path), znode.Usage{}.Append(nil)); err != nil {
			return err
		}
	case err != nil:
		return err
	default:
		var clear bool
		if now, clear = znode.ParseLimits(r.Data); !clear {
			return failf("%s is not understood: %q. delquota %s deletes it.", znode.LimitsPath(path), r.Data, path)
		}
		for _, o := range limitOptions {
			if v := *o.of(&set); v != -1 {
				*o.of(&now) = v
			}
		}
	}
	usage, err := c.usage(path)
	if err != nil {
		return err
	}
	beyond := func(used int64, limits ...int64) bool {
		return slices.ContainsFunc(limits, func(limit int64) bool { return limit != -1 && limit < used })
	}
	if beyond(usage.Count, now.Count, now.CountHard) {
		c.printf("[Warning]: the count quota you create is less than the existing count:%d\n", usage.Count)
	}
	if beyond(usage.Bytes, now.Bytes, now.BytesHard) {
		c.printf("[Warning]: the bytes quota you create is less than the existing bytes:%d\n", usage.Bytes)
	}
	if now == set {
		return nil
	}
	_, err = c.zk.Set(c.ctx, znode.LimitsPath(path), now.Append(nil), r.Stat.Version)
	return err
}

// above are the paths above one, below /zookeeper/quota, from the top down.
func above(path string) (list []string) {
	for p := znode.Parent(path); len(p) > len(znode.Quota); p = znode.Parent(p) {
		list = append(list, p)
	}
	slices.Reverse(list)
	return list
}

func (c *call) ensure(path string, data []byte) error {
	_, err := c.zk.Do(c.ctx, client.CreateOp{Path: path, Data: data})
	if errors.Is(err, zkerr.NodeExists) {
		return nil
	}
	return err
}

// noOtherQuota fails if there is a quota above path, or below it.
func (c *call) noOtherQuota(path string) error {
	const limits = "zookeeper_limits"
	names := func(p string) ([]string, error) {
		r, err := c.zk.Children(c.ctx, p)
		if errors.Is(err, zkerr.NoNode) {
			return nil, nil
		}
		return r.Children, err
	}
	for _, p := range above(znode.Quota + path) {
		list, err := names(p)
		if err != nil {
			return err
		}
		if slices.Contains(list, limits) {
			return failf("%s has a parent %s which has a quota", path, p[len(znode.Quota):])
		}
	}
	todo := []string{znode.Quota + path}
	for len(todo) > 0 {
		p := todo[0]
		todo = todo[1:]
		list, err := names(p)
		if err != nil {
			return err
		}
		if p != znode.Quota+path && slices.Contains(list, limits) {
			return failf("%s has a child %s which has a quota", path, p[len(znode.Quota):])
		}
		for _, name := range list {
			todo = append(todo, join(p, name))
		}
	}
	return nil
}

// usage is what the servers have counted.
func (c *call) usage(path string) (znode.Usage, error) {
	r, err := c.zk.Get(c.ctx, znode.StatsPath(path))
	if err != nil {
		return znode.Usage{}, err
	}
	u, ok := znode.ParseUsage(r.Data)
	if !ok {
		return u, failf("%s is not understood: %q", znode.StatsPath(path), r.Data)
	}
	return u, nil
}

func (c *call) listQuota() error {
	path, err := c.path()
	if err != nil {
		return err
	}
	c.printf("absolute path is %s\n", znode.LimitsPath(path))
	r, err := c.zk.Get(c.ctx, znode.LimitsPath(path))
	if errors.Is(err, zkerr.NoNode) {
		return failf("quota for %s does not exist.", path)
	}
	if err != nil {
		return err
	}
	limits, ok := znode.ParseLimits(r.Data)
	if !ok {
		return failf("%s is not understood: %q", znode.LimitsPath(path), r.Data)
	}
	c.printf("Output quota for %s %s\n", path, limits.Append(nil))
	usage, err := c.usage(path)
	if err != nil {
		return err
	}
	c.printf("Output stat for %s %s\n", path, usage.Append(nil))
	return nil
}

// delQuota deletes limits or, with no option, the quota and what stood there for it alone.
func (c *call) delQuota() error {
	path, err := c.path()
	if err != nil {
		return err
	}
	r, err := c.zk.Get(c.ctx, znode.LimitsPath(path))
	if errors.Is(err, zkerr.NoNode) {
		c.printf("Quota does not exist for %s\n", path)
		return nil
	}
	if err != nil {
		return err
	}
	limits, clear := znode.ParseLimits(r.Data)
	some := false
	for _, o := range limitOptions {
		if c.opts.has(o.letter) {
			some = true
			*o.of(&limits) = -1
		}
	}
	if some {
		if !clear {
			return failf("%s is not understood: %q. delquota %s deletes it.", znode.LimitsPath(path), r.Data, path)
		}
		_, err := c.zk.Set(c.ctx, znode.LimitsPath(path), limits.Append(nil), r.Stat.Version)
		return err
	}
	for _, p := range []string{znode.LimitsPath(path), znode.StatsPath(path)} {
		if _, err := c.zk.Delete(c.ctx, p, -1); err != nil && !errors.Is(err, zkerr.NoNode) {
			return err
		}
	}
	upwards := append(above(znode.Quota+path), znode.Quota+path)
	slices.Reverse(upwards)
	for _, p := range upwards {
		switch _, err := c.zk.Delete(c.ctx, p, -1); {
		case errors.Is(err, zkerr.NotEmpty):
			return nil
		case err != nil && !errors.Is(err, zkerr.NoNode):
			return err
		}
	}
	return nil
}
