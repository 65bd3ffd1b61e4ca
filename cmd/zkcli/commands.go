package main

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/zkcore/zkcore/core/admin"
	"github.com/zkcore/zkcore/core/zkerr"
	"github.com/zkcore/zkcore/internal/client"
)

// usages are all commands with what stands behind their names in the list that an unknown command
// prints.
var usages = map[string]string{
	"addWatch":             "[-m mode] path # optional mode is one of [PERSISTENT, PERSISTENT_RECURSIVE] - default is PERSISTENT_RECURSIVE",
	"addauth":              "scheme auth",
	"close":                "",
	"config":               "[-c] [-w] [-s]",
	"connect":              "host:port",
	"create":               "[-s] [-e] [-c] [-t ttl] path [data] [acl]",
	"delete":               "[-v version] path",
	"deleteall":            "path [-b batch size]",
	"delquota":             "[-n|-b|-N|-B] path",
	"get":                  "[-s] [-w] [-b] [-x] path",
	"getAcl":               "[-s] path",
	"getAllChildrenNumber": "path",
	"getEphemerals":        "path",
	"history":              "",
	"listquota":            "path",
	"ls":                   "[-s] [-w] [-R] path",
	"printwatches":         "on|off",
	"quit":                 "",
	"redo":                 "cmdno",
	"removewatches":        "path [-c|-d|-a] [-l]",
	"set":                  "path data [-s] [-v version] [-b]",
	"setAcl":               "[-s] [-v version] [-R] path acl",
	"setquota":             "-n|-b|-N|-B val path",
	"stat":                 "[-w] path",
	"sync":                 "path",
	"version":              "",
	"whoami":               "",
}

// A command is one that needs a connection. The others are the shell's own.
type command struct {
	options     []option
	listOptions bool // the usage lists them
	run         func(*call) error
}

var commands map[string]*command

func init() {
	flags := func(letters string) []option {
		var list []option
		for _, c := range []byte(letters) {
			if c == ':' {
				list[len(list)-1].value = true
				continue
			}
			list = append(list, option{letter: c})
		}
		return list
	}
	commands = map[string]*command{
		"addWatch":             {options: flags("m:"), run: (*call).addWatch},
		"addauth":              {run: (*call).addAuth},
		"close":                {run: (*call).close},
		"config":               {options: flags("swc"), run: (*call).config},
		"create":               {options: flags("esct:"), run: (*call).create},
		"delete":               {options: flags("v:"), run: (*call).delete},
		"deleteall":            {options: flags("b:"), run: (*call).deleteAll},
		"delquota":             {options: flags("nbNB"), run: (*call).delQuota},
		"getAcl":               {options: flags("s"), run: (*call).getACL},
		"getAllChildrenNumber": {run: (*call).allChildrenNumber},
		"getEphemerals":        {run: (*call).ephemerals},
		"listquota":            {run: (*call).listQuota},
		"ls":                   {options: flags("?swR"), run: (*call).ls},
		"removewatches":        {options: flags("cdpral"), run: (*call).removeWatches},
		"setAcl":               {options: flags("sv:R"), run: (*call).setACL},
		"setquota":             {options: flags("n:b:N:B:"), run: (*call).setQuota},
		"stat":                 {options: flags("w"), run: (*call).stat},
		"sync":                 {run: (*call).sync},
		"version":              {run: (*call).version},
		"whoami":               {run: (*call).whoAmI},
		"get": {
			listOptions: true,
			options: []option{
				{'s', false, "Print znode stats additionally"},
				{'w', false, "Watch for changes on the znode"},
				{'b', false, "Output data in base64 format"},
				{'x', false, "Output data in hexdump format"},
			},
			run: (*call).get,
		},
		"set": {
			listOptions: true,
			options: []option{
				{'s', false, "Print znode stats additionally"},
				{'v', true, "Set with an expected version"},
				{'b', false, "Supply data in base64 format"},
			},
			run: (*call).set,
		},
	}
}

// A call is one command being run.
type call struct {
	*shell
	ctx  context.Context
	cmd  *command
	raw  []string
	opts *options
}

// arg is the nth word behind the command's name, from 1.
func (c *call) arg(n int) string { return c.opts.args[n] }

// need fails with the command's usage unless there are n words behind its name.
func (c *call) need(n int) error {
	if len(c.opts.args) <= n {
		return failf("%s", c.cmd.usage(c.raw[0]))
	}
	return nil
}

// path is the first word, if it is a path.
func (c *call) path() (string, error) {
	if err := c.need(1); err != nil {
		return "", err
	}
	return c.arg(1), client.CheckPath(c.arg(1))
}

// oldWatch understands "ls path watch", which once meant -w, and says that it is out of date.
func (c *call) oldWatch(now string) error {
	if len(c.opts.args) <= 2 {
		return nil
	}
	words := slices.Clone(c.raw)
	words[2] = "-w"
	c.errorln(fmt.Sprintf("'%s path [watch]' has been deprecated. Please use '%s' instead.", c.raw[0], now))
	opts, err := parseOptions(c.cmd.options, words)
	if err != nil {
		return err
	}
	c.opts = opts
	return c.need(1)
}

// statIf prints the Stat if the option is there.
func (c *call) statIf(letter byte, s client.Stat) {
	if c.opts.has(letter) {
		c.printf("%s", statBlock(s))
	}
}

func (c *call) ls() error {
	if err := c.oldWatch("ls [-w] path"); err != nil {
		return err
	}
	path, err := c.path()
	if err != nil {
		return err
	}
	if c.opts.has('R') {
		return c.walk(path, c.opts.has('w'), func(p string) { c.printf("%s\n", p) })
	}
	r, err := c.zk.Do(c.ctx, client.ChildrenOp{Path: path, Watch: c.opts.has('w')})
	if err != nil {
		return err
	}
	slices.Sort(r.Children)
	c.printf("[%s]\n", strings.Join(r.Children, ", "))
	c.statIf('s', r.Stat)
	return nil
}

// walk visits a znode and all below it: the children of a znode before what is below them. A znode
// that goes meanwhile is passed over.
func (c *call) walk(path string, watch bool, visit func(string)) error {
	if _, err := c.zk.Do(c.ctx, client.GetOp{Path: path, Watch: watch}); err != nil {
		return err
	}
	visit(path)
	return c.walkBelow(path, watch, visit)
}

func (c *call) walkBelow(path string, watch bool, visit func(string)) error {
	r, err := c.zk.Do(c.ctx, client.ChildrenOp{Path: path, Watch: watch})
	switch {
	case errors.Is(err, zkerr.NoNode):
		return nil
	case err != nil:
		return err
	}
	slices.Sort(r.Children)
	for _, name := range r.Children {
		visit(join(path, name))
	}
	for _, name := range r.Children {
		if err := c.walkBelow(join(path, name), watch, visit); err != nil {
			return err
		}
	}
	return nil
}

func join(parent, name string) string {
	if parent == "/" {
		return "/" + name
	}
	return parent + "/" + name
}

func (c *call) get() error {
	if err := c.need(1); err != nil {
		return err
	}
	if err := c.oldWatch("get [-s] [-w] path"); err != nil {
		return err
	}
	path, err := c.path()
	if err != nil {
		return err
	}
	r, err := c.zk.Do(c.ctx, client.GetOp{Path: path, Watch: c.opts.has('w')})
	if err != nil {
		return err
	}
	data := r.Data
	if data == nil {
		data = []byte("null")
	}
	switch {
	case c.opts.has('x'):
		c.printf("%s\n", hexDump(data))
	case c.opts.has('b'):
		c.printf("%s\n", base64.StdEncoding.EncodeToString(data))
	default:
		c.printf("%s\n", data)
	}
	c.statIf('s', r.Stat)
	return nil
}

func (c *call) set() error {
	if err := c.need(2); err != nil {
		return err
	}
	data := []byte(c.arg(2))
	if c.opts.has('b') {
		var err error
		if data, err = base64.StdEncoding.DecodeString(c.arg(2)); err != nil {
			return failf("data is not base64: %v", err)
		}
	}
	version, err := c.opts.version()
	if err != nil {
		return err
	}
	path, err := c.path()
	if err != nil {
		return err
	}
	r, err := c.zk.Set(c.ctx, path, data, version)
	if err != nil {
		return err
	}
	c.statIf('s', r.Stat)
	return nil
}

const maxTTL = 1<<40 - 1 // ms

func (c *call) create() error {
	if err := c.need(1); err != nil {
		return err
	}
	e, s, ct, t := c.opts.has('e'), c.opts.has('s'), c.opts.has('c'), c.opts.has('t')
	if ct && (e || s) {
		return failf("-c cannot be combined with -s or -e. Containers cannot be ephemeral or sequential.")
	}
	op := client.CreateOp{Path: c.arg(1)}
	if t {
		ms, err := strconv.ParseInt(c.opts.values['t'], 10, 64)
		switch {
		case err != nil:
			return failf("-t argument must be a long value")
		case e:
			return failf("TTLs cannot be used with Ephemeral znodes")
		case ct:
			return failf("TTLs cannot be used with Container znodes")
		case ms <= 0 || ms > maxTTL:
			return failf("ttl must be positive and cannot be larger than: %d", int64(maxTTL))
		}
		op.TTL = time.Duration(ms) * time.Millisecond
	}
	switch {
	case e && s:
		op.Mode = client.EphemeralSequential
	case e:
		op.Mode = client.Ephemeral
	case s && t:
		op.Mode = client.PersistentSequentialTTL
	case s:
		op.Mode = client.PersistentSequential
	case ct:
		op.Mode = client.Container
	case t:
		op.Mode = client.PersistentTTL
	}
	if len(c.opts.args) > 2 {
		op.Data = []byte(c.arg(2))
	}
	if len(c.opts.args) > 3 {
		op.ACL = parseACL(c.arg(3), c.errorln)
		if len(op.ACL) == 0 {
			c.errorln(keeperMessage(zkerr.InvalidACL, ""))
			return &zkerr.Error{Op: "create", Code: zkerr.InvalidACL}
		}
	}
	whole := op.Path
	if s {
		whole += "1" // what the server appends makes a name of an empty one
	}
	if err := client.CheckPath(whole); err != nil {
		return err
	}
	r, err := c.zk.Do(c.ctx, op)
	switch {
	case errors.Is(err, zkerr.EphemeralOnLocalSession):
		c.errorln("Unable to create ephemeral node on a local session")
		return err
	case errors.Is(err, zkerr.InvalidACL):
		c.errorln(keeperMessage(zkerr.InvalidACL, op.Path))
		return err
	case err != nil:
		return err
	}
	c.errorln("Created " + r.Path)
	return nil
}

func (c *call) delete() error {
	if err := c.need(1); err != nil {
		return err
	}
	if len(c.opts.args) > 2 {
		c.errorln("'delete path [version]' has been deprecated. Please use 'delete [-v version] path' instead.")
	}
	version, err := c.opts.version()
	if err != nil {
		return err
	}
	path, err := c.path()
	if err != nil {
		return err
	}
	_, err = c.zk.Delete(c.ctx, path, version)
	return err
}

// deleteAll deletes a znode and all below it, the deepest first, in multis of which some are under
// way at a time. Once one fails no more are sent.
func (c *call) deleteAll() error {
	if err := c.need(1); err != nil {
		return err
	}
	batch := 1000
	if c.opts.has('b') {
		n, err := strconv.ParseInt(c.opts.values['b'], 10, 32)
		if err != nil {
			return failf("-b argument must be an int value")
		}
		batch = int(n)
	}
	path, err := c.path()
	if err != nil {
		return err
	}
	tree := []string{path}
	for i := 0; i < len(tree); i++ {
		r, err := c.zk.Children(c.ctx, tree[i])
		if err != nil {
			return err
		}
		for _, name := range r.Children {
			tree = append(tree, join(tree[i], name))
		}
	}
	slices.Reverse(tree)
	if batch <= 0 {
		for _, p := range tree {
			if _, err := c.zk.Delete(c.ctx, p, -1); err != nil {
				return err
			}
		}
		return nil
	}
	const underWay = 10
	var calls []*client.Call
	failed := false
	await := func() {
		if _, err := calls[0].Wait(c.ctx); err != nil {
			failed = true
		}
		calls = calls[1:]
	}
	for part := range slices.Chunk(tree, batch) {
		if len(calls) == underWay {
			await()
		}
		if failed {
			break
		}
		var op client.MultiOp
		for _, p := range part {
			op.Ops = append(op.Ops, client.DeleteOp{Path: p, Version: -1})
		}
		calls = append(calls, c.zk.Start(op))
	}
	for len(calls) > 0 {
		await()
	}
	if failed {
		c.errorln("Failed to delete some node(s) in the subtree!")
	}
	return nil
}

func (c *call) stat() error {
	if err := c.need(1); err != nil {
		return err
	}
	if err := c.oldWatch("stat [-w] path"); err != nil {
		return err
	}
	path, err := c.path()
	if err != nil {
		return err
	}
	r, err := c.zk.Do(c.ctx, client.ExistsOp{Path: path, Watch: c.opts.has('w')})
	if err != nil {
		return err
	}
	c.printf("%s", statBlock(r.Stat))
	return nil
}

func (c *call) getACL() error {
	path, err := c.path()
	if err != nil {
		return err
	}
	r, err := c.zk.GetACL(c.ctx, path)
	if err != nil {
		return err
	}
	for _, a := range r.ACL {
		c.printf("'%s,'%s\n: %s\n", a.Scheme, a.ID, permString(a.Perms))
	}
	c.statIf('s', r.Stat)
	return nil
}

func (c *call) setACL() error {
	if err := c.need(2); err != nil {
		return err
	}
	acl := parseACL(c.arg(2), c.errorln)
	version, err := c.opts.version()
	if err != nil {
		return err
	}
	path, err := c.path()
	if err != nil {
		return err
	}
	set := func(p string) (client.Reply, error) {
		if len(acl) == 0 { // which is not sent, and so is about no path
			return client.Reply{}, &zkerr.Error{Op: "setACL", Code: zkerr.InvalidACL}
		}
		return c.zk.SetACL(c.ctx, p, acl, version)
	}
	if c.opts.has('R') {
		return c.walk(path, false, func(p string) {
			var zk *zkerr.Error
			if _, err := set(p); errors.As(err, &zk) {
				c.printf("%s", keeperMessage(zk.Code, zk.Path))
			}
		})
	}
	r, err := set(path)
	if err != nil {
		return err
	}
	c.statIf('s', r.Stat)
	return nil
}

// addAuth says nothing when the server refuses: that shows in the state of the connection.
func (c *call) addAuth() error {
	if err := c.need(1); err != nil {
		return err
	}
	var data []byte
	if len(c.opts.args) > 2 {
		data = []byte(c.arg(2))
	}
	err := c.zk.AddAuth(c.ctx, c.arg(1), data)
	if errors.Is(err, zkerr.AuthFailed) {
		return nil
	}
	return err
}

func (c *call) sync() error {
	path, err := c.path()
	if err != nil {
		return err
	}
	_, err = c.zk.Sync(c.ctx, path)
	var zk *zkerr.Error
	switch {
	case err == nil:
		c.printf("Sync is OK\n")
	case errors.As(err, &zk):
		c.printf("Sync has failed. rc=%d\n", int32(zk.Code))
	default:
		return err
	}
	return nil
}

func (c *call) close() error {
	c.closeSession()
	return nil
}

func (c *call) version() error {
	if len(c.opts.args) > 1 {
		return failf("%s", c.cmd.usage(c.raw[0]))
	}
	c.printf("ZooKeeper CLI version: %s\n", admin.VersionText())
	return nil
}

func (c *call) whoAmI() error {
	r, err := c.zk.Do(c.ctx, client.WhoAmIOp{})
	if err != nil {
		return err
	}
	c.printf("Auth scheme: User\n")
	for _, u := range r.Users {
		c.printf("%s: %s\n", u.Scheme, u.User)
	}
	return nil
}

func (c *call) ephemerals() error {
	prefix := "/"
	if len(c.opts.args) > 1 {
		var err error
		if prefix, err = c.path(); err != nil {
			return err
		}
	}
	r, err := c.zk.Do(c.ctx, client.EphemeralsOp{Prefix: prefix})
	if err != nil {
		return err
	}
	slices.Sort(r.Children)
	c.printf("[%s]\n", strings.Join(r.Children, ", "))
	return nil
}

func (c *call) allChildrenNumber() error {
	path, err := c.path()
	if err != nil {
		return err
	}
	r, err := c.zk.Do(c.ctx, client.AllChildrenNumberOp{Path: path})
	if err != nil {
		return err
	}
	c.printf("%d\n", r.Number)
	return nil
}

func (c *call) addWatch() error {
	if len(c.opts.args) != 2 {
		return failf("%s", c.cmd.usage(c.raw[0]))
	}
	op := client.AddWatchOp{Path: c.arg(1), Mode: client.PersistentRecursiveWatch}
	if m, ok := c.opts.values['m']; ok {
		switch strings.ToUpper(m) {
		case "PERSISTENT":
			op.Mode = client.PersistentWatch
		case "PERSISTENT_RECURSIVE":
		default:
			return failf("%s", c.cmd.usage(c.raw[0]))
		}
	}
	if err := client.CheckPath(op.Path); err != nil {
		return err
	}
	_, err := c.zk.Do(c.ctx, op)
	return err
}

// removeWatches takes off what the shell has set. -l would do so without a server, for which there
// is no use here: without one the command fails.
func (c *call) removeWatches() error {
	path, err := c.path()
	if err != nil {
		return err
	}
	t := client.WatcherAny
	switch {
	case c.opts.has('c'):
		t = client.WatcherChildren
	case c.opts.has('d'):
		t = client.WatcherData
	case c.opts.has('p'):
		t = client.WatcherPersistent
	case c.opts.has('r'):
		t = client.WatcherPersistentRecursive
	}
	_, err = c.zk.RemoveWatches(c.ctx, path, t)
	return err
}

const configPath = "/zookeeper/config"

func (c *call) config() error {
	r, err := c.zk.Do(c.ctx, client.GetOp{Path: configPath, Watch: c.opts.has('w')})
	if err != nil {
		return err
	}
	text := string(r.Data)
	if r.Data == nil {
		text = "null"
	}
	if c.opts.has('c') {
		text = clientConfig(text)
	}
	c.printf("%s\n", text)
	c.statIf('s', r.Stat)
	return nil
}

// clientConfig makes of a configuration text what clients are given: "version host:port,host:port".
func clientConfig(text string) string {
	version := ""
	var hosts []string
	for line := range strings.Lines(text) {
		key, value, ok := strings.Cut(strings.TrimSpace(line), "=")
		switch {
		case ok && key == "version":
			version = value
		case ok && strings.HasPrefix(key, "server."):
			_, at, _ := strings.Cut(value, ";")
			if at == "" {
				continue
			}
			// A port alone is that of the host of the server's own address; any address too.
			if !strings.Contains(at, ":") {
				at = "0.0.0.0:" + at
			}
			hosts = append(hosts, at)
		}
	}
	return version + " " + strings.Join(hosts, ",")
}
