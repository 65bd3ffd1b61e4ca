package client

import (
	"context"
	"time"
)

// Create creates a znode of the mode. Without an acl it is open to everybody.
func (c *Client) Create(ctx context.Context, path string, data []byte, mode Mode, acl ...ACL) (Reply, error) {
	return c.Do(ctx, CreateOp{Path: path, Data: data, Mode: mode, ACL: acl})
}

// Create2 is Create, and its reply has the new znode's Stat.
func (c *Client) Create2(ctx context.Context, path string, data []byte, mode Mode, acl ...ACL) (Reply, error) {
	return c.Do(ctx, CreateOp{Path: path, Data: data, Mode: mode, ACL: acl, WithStat: true})
}

// CreateTTL creates a znode of one of the TTL modes.
func (c *Client) CreateTTL(ctx context.Context, path string, data []byte, mode Mode, ttl time.Duration, acl ...ACL) (Reply, error) {
	return c.Do(ctx, CreateOp{Path: path, Data: data, Mode: mode, ACL: acl, TTL: ttl})
}

// Delete deletes a znode of the version, any with -1.
func (c *Client) Delete(ctx context.Context, path string, version int32) (Reply, error) {
	return c.Do(ctx, DeleteOp{path, version})
}

// Exists asks for a znode's Stat. That it is absent is the error zkerr.NoNode.
func (c *Client) Exists(ctx context.Context, path string) (Reply, error) {
	return c.Do(ctx, ExistsOp{Path: path})
}

// ExistsW is Exists with a watch, which is set, and Reply.Event with it, beside zkerr.NoNode too.
func (c *Client) ExistsW(ctx context.Context, path string) (Reply, error) {
	return c.Do(ctx, ExistsOp{path, true})
}

// Get reads a znode.
func (c *Client) Get(ctx context.Context, path string) (Reply, error) {
	return c.Do(ctx, GetOp{Path: path})
}

// GetW is Get with a watch.
func (c *Client) GetW(ctx context.Context, path string) (Reply, error) {
	return c.Do(ctx, GetOp{path, true})
}

// Set replaces the data of a znode of the version, any with -1.
func (c *Client) Set(ctx context.Context, path string, data []byte, version int32) (Reply, error) {
	return c.Do(ctx, SetOp{path, data, version})
}

// Children reads the names of a znode's children.
func (c *Client) Children(ctx context.Context, path string) (Reply, error) {
	return c.Do(ctx, ChildrenOp{Path: path})
}

// ChildrenW is Children with a watch.
func (c *Client) ChildrenW(ctx context.Context, path string) (Reply, error) {
	return c.Do(ctx, ChildrenOp{Path: path, Watch: true})
}

// GetACL reads a znode's ACL.
func (c *Client) GetACL(ctx context.Context, path string) (Reply, error) {
	return c.Do(ctx, GetACLOp{path})
}

// SetACL replaces a znode's ACL if its Aversion is the version, any with -1.
func (c *Client) SetACL(ctx context.Context, path string, acl []ACL, version int32) (Reply, error) {
	return c.Do(ctx, SetACLOp{path, acl, version})
}

// Sync waits until the server has all that the leader had committed.
func (c *Client) Sync(ctx context.Context, path string) (Reply, error) {
	return c.Do(ctx, SyncOp{path})
}

// Multi does all of the ops or none: CreateOp, DeleteOp, SetOp, CheckOp. The error is that of the
// op that failed, and Reply.Results has what the server says of each.
func (c *Client) Multi(ctx context.Context, ops ...Op) (Reply, error) {
	return c.Do(ctx, MultiOp{ops})
}

// MultiRead does many reads in one request: GetOp, ChildrenOp with NoStat. Reply.Results has the
// outcome of each.
func (c *Client) MultiRead(ctx context.Context, ops ...Op) (Reply, error) {
	return c.Do(ctx, MultiReadOp{ops})
}

// AddWatch sets a watch that stays; Reply.Watch takes its events.
func (c *Client) AddWatch(ctx context.Context, path string, mode WatchMode) (Reply, error) {
	return c.Do(ctx, AddWatchOp{path, mode})
}

// RemoveWatches takes the client's watches of a type off a path.
func (c *Client) RemoveWatches(ctx context.Context, path string, t WatcherType) (Reply, error) {
	return c.Do(ctx, RemoveWatchesOp{path, t})
}
