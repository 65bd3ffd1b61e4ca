package oracle

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/zkcore/zkcore/core/proto"
	"github.com/zkcore/zkcore/core/zkerr"
	"github.com/zkcore/zkcore/test/harness"
)

// The super digest of both sides, and what logs in with it.
const (
	superDigest = "super:D/InIHSb7yEEbrWz8b9l71RjZJU="
	superLogin  = "super:test"
)

// login opens the session that reads everything and sweeps.
func (p *pair) login() error {
	p.admin = &client{}
	err := both(func(i int) error {
		s := p.sides[i]
		s.begin()
		s.rules = p.rules
		l, err := s.dial(s.addrs[0])
		if err != nil {
			return err
		}
		p.admin.links[i] = l
		var out packet
		l.greet(&out, &proto.ConnectRequest{TimeoutMS: 600_000, Passwd: make([]byte, 16)})
		pass := superLogin
		l.request(&out, &request{Op: "auth", Scheme: "digest", Data: &pass}, false)
		if err := l.send(out); err != nil {
			return err
		}
		n := 0
		got, err := l.gather(func() bool { n++; return n > 2 })
		if err != nil {
			return err
		}
		if got[len(got)-1].code != zkerr.OK || got[len(got)-1].end {
			return fmt.Errorf("%s: the super digest does not log in: %s", s.name, got[len(got)-1].text)
		}
		return nil
	})
	if err != nil {
		return err
	}
	return both(func(i int) error { // so that the zxids of the first run have where to begin
		_, err := p.ask(i, []request{{Op: "ping"}})
		p.sides[i].first = p.sides[i].last
		return err
	})
}

// ask sends the admin's requests to one side and returns the replies.
func (p *pair) ask(i int, reqs []request) ([]frame, error) {
	l := p.admin.links[i]
	var all []frame
	for len(reqs) > 0 {
		n := min(len(reqs), 100)
		var out packet
		for k := range reqs[:n] {
			l.request(&out, &reqs[k], false)
		}
		l.request(&out, p.barrier(), true)
		if err := l.send(out); err != nil {
			return nil, err
		}
		got, err := l.gather(nil)
		if err != nil {
			return nil, err
		}
		if len(got) != n || got[n-1].end {
			return nil, fmt.Errorf("%s: %w", l.side.name, errClosed)
		}
		all = append(all, got...)
		reqs = reqs[n:]
	}
	return all, nil
}

// tree reads all znodes of one side, parents first: for each its data, ACL and Stat, as frames.
func (p *pair) tree(i int) (paths []string, frames map[string][2]frame, err error) {
	frames = make(map[string][2]frame)
	if _, err := p.ask(i, []request{{Op: "sync", Path: "/"}}); err != nil {
		return nil, nil, err
	}
	level := []string{"/"}
	for len(level) > 0 {
		var reqs []request
		for _, path := range level {
			reqs = append(reqs, request{Op: "getData", Path: path}, request{Op: "getACL", Path: path}, request{Op: "getChildren", Path: path})
		}
		got, err := p.ask(i, reqs)
		if err != nil {
			return nil, nil, err
		}
		var next []string
		for k, path := range level {
			data, acl, names := got[3*k], got[3*k+1], got[3*k+2]
			for _, f := range []frame{data, acl, names} {
				if f.code != zkerr.OK {
					return nil, nil, differ("%s lists %q and then says %s", p.sides[i].name, path, f.text)
				}
			}
			paths = append(paths, path)
			frames[path] = [2]frame{data, acl}
			var r proto.StringsResponse
			if err := proto.Unmarshal(names.norm[proto.ReplyHeaderSize:], &r); err != nil {
				return nil, nil, err
			}
			for _, name := range r.Strings {
				next = append(next, strings.TrimSuffix(path, "/")+"/"+name)
			}
		}
		level = next
	}
	return paths, frames, nil
}

// compareTrees compares all that both sides have in the end.
func (p *pair) compareTrees() error {
	var paths [2][]string
	var frames [2]map[string][2]frame
	err := both(func(i int) (err error) {
		paths[i], frames[i], err = p.tree(i)
		return err
	})
	if err != nil {
		return err
	}
	if !slices.Equal(paths[0], paths[1]) {
		return differ("the trees have other znodes\n\t%s:\n\t   %q\n\t%s:\n\t   %q", p.sides[0].name, paths[0], p.sides[1].name, paths[1])
	}
	for _, path := range paths[0] {
		if path == config && p.rules.noConfig {
			continue
		}
		a, b := frames[0][path], frames[1][path]
		for k := range a {
			if !bytes.Equal(a[k].norm, b[k].norm) {
				return differ("in the end %q is\n%s", path, p.show([2][]frame{{a[k]}, {b[k]}}, 0))
			}
		}
		p.frames += 2
	}
	var owned [2][]string
	err = both(func(i int) (err error) {
		owned[i], err = p.ephemerals(i)
		return err
	})
	if err != nil {
		return err
	}
	if !slices.Equal(owned[0], owned[1]) {
		return differ("dump says of ephemerals\n\t%s:\n\t   %q\n\t%s:\n\t   %q", p.sides[0].name, owned[0], p.sides[1].name, owned[1])
	}
	return nil
}

// ephemerals is what dump says of them: a session's number and a path for each.
func (p *pair) ephemerals(i int) ([]string, error) {
	text, err := harness.FourLetter(p.sides[i].addrs[0], "dump")
	if err != nil {
		return nil, err
	}
	_, text, ok := strings.Cut(text, "ephemeral nodes dump:\n")
	if !ok {
		return nil, fmt.Errorf("%s: no ephemerals in dump: %q", p.sides[i].name, text)
	}
	text, _, _ = strings.Cut(text, "Connections dump:\n")
	var list []string
	var owner int64
	for line := range strings.Lines(text) {
		line = strings.TrimRight(line, "\n")
		if path, ok := strings.CutPrefix(line, "\t"); ok {
			list = append(list, fmt.Sprintf("%s %s", sessionName(owner), path))
		} else if strings.HasPrefix(line, "0x") {
			var id uint64
			if _, err := fmt.Sscanf(line, "0x%x:", &id); err != nil {
				return nil, fmt.Errorf("%s: %q in dump: %w", p.sides[i].name, line, err)
			}
			owner = p.sides[i].number(int64(id))
		}
	}
	slices.Sort(list)
	return list, nil
}

// config is the znode that servers write themselves.
const config = "/zookeeper/config"

// standing are the znodes that no client can delete, with what they are at first.
var standing = []struct{ path, acl string }{
	{"/", "31 world:anyone"}, {"/zookeeper", "31 world:anyone"}, {"/zookeeper/quota", "31 world:anyone"}, {config, "1 world:anyone"},
}

// sweep ends all sessions of the last run and empties the trees. It says whether both sides are alike
// then; after a run that differed they need not be.
func (p *pair) sweep() (alike bool, err error) {
	for _, s := range p.all {
		if err := p.end(s); err != nil {
			return false, err
		}
	}
	p.all = nil
	for _, c := range p.clients {
		if c == nil {
			continue
		}
		if err := c.hangUp(); err != nil {
			return false, err
		}
	}
	var left [2][]byte
	err = both(func(i int) error {
		paths, _, err := p.tree(i)
		if err != nil {
			return err
		}
		slices.Reverse(paths) // children first
		var reqs []request
		empty := ""
		for _, path := range paths {
			if !slices.ContainsFunc(standing, func(s struct{ path, acl string }) bool { return s.path == path }) {
				reqs = append(reqs, request{Op: "delete", Path: path, Version: -1})
			}
		}
		for _, s := range standing {
			reqs = append(reqs, request{Op: "setACL", Path: s.path, ACL: s.acl, Version: -1}, request{Op: "setData", Path: s.path, Data: &empty, Version: -1})
		}
		got, err := p.ask(i, reqs)
		if err != nil {
			return err
		}
		for _, f := range got {
			if f.code != zkerr.OK {
				return fmt.Errorf("sweep %s: %s", p.sides[i].name, f.text)
			}
		}
		p.sides[i].begin()
		_, frames, err := p.tree(i)
		if err != nil {
			return err
		}
		for _, s := range standing {
			if s.path == config && p.rules.noConfig {
				continue
			}
			left[i] = append(append(left[i], frames[s.path][0].norm...), frames[s.path][1].norm...)
		}
		return nil
	})
	return bytes.Equal(left[0], left[1]), err
}

// end closes a session, if it is open.
func (p *pair) end(s *session) error {
	return both(func(i int) error {
		if s.id[i].id == 0 {
			return nil
		}
		l, err := p.sides[i].dial(p.sides[i].addrs[0])
		if err != nil {
			return err
		}
		defer l.drop()
		var out packet
		l.greet(&out, &proto.ConnectRequest{TimeoutMS: 600_000, SessionID: s.id[i].id, Passwd: s.id[i].passwd})
		if err := l.send(out); err != nil {
			return err
		}
		if _, err := l.gather(func() bool { return l.greeted }); err != nil || l.opened.id == 0 {
			return err
		}
		out = out[:0]
		l.request(&out, &request{Op: "closeSession"}, false)
		if err := l.send(out); err != nil {
			return err
		}
		_, err = l.gather(nil)
		if isSilent(err) {
			return errors.Join(fmt.Errorf("session 0x%x does not end", s.id[i].id), err)
		}
		return err
	})
}
