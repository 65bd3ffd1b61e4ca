// Package fakezk is a ZooKeeper server small enough to be looked through, for the tests of the client
// and of the shell: one map of znodes under one lock, no log, no other server. It can be told to
// expire a session, to break connections and to refuse them.
//
// It is not a model of the rules: permissions are not checked, ACLs only as far as the shell's
// messages need it. What a server must answer is tested against the real ones.
package fakezk

import (
	"encoding/binary"
	"io"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/zkcore/zkcore/core/jute"
	"github.com/zkcore/zkcore/core/proto"
	"github.com/zkcore/zkcore/core/zkerr"
)

// A Server listens on loopback until its test ends.
type Server struct {
	Addr string

	ln net.Listener

	mu       sync.Mutex
	zxid     int64
	nodes    map[string]*node
	sessions map[int64]bool // true while open
	conns    map[*conn]bool
	refuse   bool
	frames   []proto.Op // every request seen, in order
}

type node struct {
	data    []byte
	acl     []jute.ACL
	stat    proto.Stat
	creates int32
}

type conn struct {
	s        *Server
	nc       net.Conn
	session  int64
	data     map[string]bool
	child    map[string]bool
	lasting  map[string]proto.AddWatchMode
	identity []string
	out      []byte
	done     bool
}

// Start starts a server with an empty tree.
func Start(t testing.TB) *Server {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &Server{
		Addr:     ln.Addr().String(),
		ln:       ln,
		nodes:    map[string]*node{"/": {acl: jute.OpenACL()}},
		sessions: make(map[int64]bool),
		conns:    make(map[*conn]bool),
	}
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			nc, err := ln.Accept()
			if err != nil {
				return
			}
			wg.Go(func() { s.serve(nc) })
		}
	})
	t.Cleanup(func() {
		ln.Close()
		s.Refuse(true)
		wg.Wait()
	})
	return s
}

// Break closes all connections.
func (s *Server) Break() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for c := range s.conns {
		c.nc.Close()
	}
}

// Refuse closes all connections and makes the server close new ones before it answers, until it is
// told not to.
func (s *Server) Refuse(refuse bool) {
	s.mu.Lock()
	s.refuse = refuse
	s.mu.Unlock()
	if refuse {
		s.Break()
	}
}

// Expire ends a session and closes its connection.
func (s *Server) Expire(id int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.end(id)
	for c := range s.conns {
		if c.session == id {
			c.nc.Close()
		}
	}
}

// Open says whether a session is open.
func (s *Server) Open(id int64) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.sessions[id]
}

// Seen returns the requests that came since it was last called.
func (s *Server) Seen() []proto.Op {
	s.mu.Lock()
	defer s.mu.Unlock()
	ops := s.frames
	s.frames = nil
	return ops
}

// end ends a session: its ephemerals go.
func (s *Server) end(id int64) {
	s.sessions[id] = false
	for path, n := range s.nodes {
		if n.stat.EphemeralOwner == id && id != 0 {
			s.zxid++
			s.remove(path)
		}
	}
}

func password(id int64) []byte {
	return jute.AppendLong(jute.AppendLong(nil, id), ^id)
}

func readFrame(r io.Reader) ([]byte, error) {
	var head [4]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return nil, err
	}
	b := make([]byte, binary.BigEndian.Uint32(head[:])&0xffffff)
	_, err := io.ReadFull(r, b)
	return b, err
}

func frame(b []byte) []byte { return append(jute.AppendInt(nil, int32(len(b))), b...) }

func (s *Server) serve(nc net.Conn) {
	defer nc.Close()
	c := &conn{
		s: s, nc: nc,
		data:     make(map[string]bool),
		child:    make(map[string]bool),
		lasting:  make(map[string]proto.AddWatchMode),
		identity: []string{"ip:127.0.0.1"},
	}
	s.mu.Lock()
	refuse := s.refuse
	s.conns[c] = true
	s.mu.Unlock()
	defer func() {
		s.mu.Lock()
		delete(s.conns, c)
		s.mu.Unlock()
	}()
	b, err := readFrame(nc)
	var req proto.ConnectRequest
	if refuse || err != nil || proto.Unmarshal(b, &req) != nil {
		return
	}
	s.mu.Lock()
	res := proto.ConnectResponse{TimeoutMS: req.TimeoutMS, SessionID: req.SessionID, HasReadOnly: req.HasReadOnly}
	switch {
	case req.LastZxidSeen > s.zxid:
		s.mu.Unlock()
		return
	case req.SessionID == 0:
		s.zxid++
		res.SessionID = 0x1000 + s.zxid
		s.sessions[res.SessionID] = true
	case !s.sessions[req.SessionID] || !slices.Equal(req.Passwd, password(req.SessionID)):
		res = proto.ConnectResponse{HasReadOnly: req.HasReadOnly}
	}
	c.session = res.SessionID
	s.mu.Unlock()
	res.Passwd = make([]byte, 16)
	if c.session != 0 {
		res.Passwd = password(c.session)
	}
	if _, err := nc.Write(frame(res.Append(nil))); err != nil || c.session == 0 {
		return
	}
	for !c.done {
		b, err := readFrame(nc)
		if err != nil {
			return
		}
		s.mu.Lock()
		c.request(b)
		s.flush()
		s.mu.Unlock()
	}
}

// flush sends what a request has made for anybody. It is under the lock, as everything here.
func (s *Server) flush() {
	for c := range s.conns {
		if len(c.out) > 0 {
			c.nc.Write(c.out) // a broken connection shows when it is read
			c.out = nil
		}
	}
}

func (c *conn) reply(xid int32, code zkerr.Code, body []byte) {
	b := proto.AppendReplyHeader(nil, xid, c.s.zxid, code)
	if code == zkerr.OK {
		b = append(b, body...)
	}
	c.out = append(c.out, frame(b)...)
}

func (c *conn) event(t proto.EventType, path string, zxid int64) {
	b := proto.AppendReplyHeader(nil, proto.XidNotification, zxid, zkerr.OK)
	e := proto.WatcherEvent{Type: t, State: 3, Path: path}
	c.out = append(c.out, frame(e.Append(b))...)
}

// fire tells the watches of a path.
func (s *Server) fire(t proto.EventType, path string) {
	for c := range s.conns {
		hit := false
		if t != proto.EventNodeChildrenChanged && c.data[path] {
			delete(c.data, path)
			hit = true
		}
		if (t == proto.EventNodeChildrenChanged || t == proto.EventNodeDeleted) && c.child[path] {
			delete(c.child, path)
			hit = true
		}
		for p, mode := range c.lasting {
			switch {
			case p == path && (mode == proto.AddWatchPersistent || t != proto.EventNodeChildrenChanged):
				hit = true
			case mode == proto.AddWatchPersistentRecursive && t != proto.EventNodeChildrenChanged && strings.HasPrefix(path, strings.TrimSuffix(p, "/")+"/"):
				hit = true
			}
		}
		if hit {
			c.event(t, path, s.zxid)
		}
	}
}

func parent(path string) string {
	if i := strings.LastIndexByte(path, '/'); i > 0 {
		return path[:i]
	}
	return "/"
}

func (s *Server) children(path string) []string {
	names := []string{}
	for p := range s.nodes {
		if p != "/" && parent(p) == path {
			names = append(names, p[strings.LastIndexByte(p, '/')+1:])
		}
	}
	return names
}

func (s *Server) stat(path string) proto.Stat {
	st := s.nodes[path].stat
	st.DataLength = int32(len(s.nodes[path].data))
	st.NumChildren = int32(len(s.children(path)))
	return st
}

func (s *Server) remove(path string) {
	delete(s.nodes, path)
	if n := s.nodes[parent(path)]; n != nil {
		n.stat.Cversion++
		n.stat.Pzxid = s.zxid
	}
	s.fire(proto.EventNodeDeleted, path)
	s.fire(proto.EventNodeChildrenChanged, parent(path))
}
