package config

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/zkcore/zkcore/core/quorum"
	"github.com/zkcore/zkcore/plugins/consensus"
)

// readEnsemble reads the membership, out of this file or the dynamic one.
func (c *Config) readEnsemble(r *reader) {
	standaloneEnabled := r.boolean("standaloneEnabled", true)
	multi := r.boolean("multiAddress.enabled", false)
	c.MultiAddress, c.NoStandalone = multi, !standaloneEnabled
	c.QuorumListenOnAllIPs = r.boolean("quorumListenOnAllIPs", false)
	peerType := strings.ToLower(r.text("peerType", "participant"))
	if peerType != "participant" && peerType != "observer" {
		r.fail("peerType", "Unrecognised peertype: %s", r.text("peerType", ""))
	}

	members := make(map[string]Value)
	for _, key := range r.s.Keys() {
		if isMember(key) {
			members[key], _ = r.s.Get(key)
		}
	}
	if path := r.text("dynamicConfigFile", ""); path != "" {
		for key := range members {
			r.fail(key, "parameter: %s must be in a separate dynamic config file", key)
			return
		}
		if !filepath.IsAbs(path) {
			path = filepath.Join(filepath.Dir(c.File), path)
		}
		dynamic, _, err := ReadFile(path)
		if err != nil {
			r.fail("dynamicConfigFile", "%v", err)
			return
		}
		for _, key := range dynamic.Keys() {
			v, _ := dynamic.Get(key)
			switch {
			case key == "version":
				r.fail("dynamicConfigFile", "%s: dynamic file shouldn't have version inside", v.Origin)
				return
			case !isMember(key):
				r.fail("dynamicConfigFile", "%s: Unrecognised parameter: %s", v.Origin, key)
				return
			}
			members[key] = v
		}
	}

	props := make(map[string]string, len(members))
	for key, v := range members {
		props[key] = v.Text
	}
	// A complaint about a member names its line, wherever that is.
	refuse := func(key, why string) {
		if r.err == nil {
			r.err = &Error{Origin: members[key].Origin, Key: key, Reason: why}
			if key == "" {
				r.err.Origin = Origin{File: c.File}
			}
		}
	}
	q, err := quorum.NewConfig(props, multi)
	if err == nil {
		err = q.Check(standaloneEnabled)
	}
	if err != nil {
		var ce *quorum.ConfigError
		if errors.As(err, &ce) {
			refuse(ce.Key, ce.Msg)
		} else {
			refuse("", err.Error())
		}
		return
	}
	voters := len(q.Voters())
	c.Standalone = len(q.Servers) == 0 || voters == 1 && len(q.Servers) == 1 && standaloneEnabled
	c.Ensemble = *q
	if c.Standalone {
		return
	}
	for key, limit := range map[string]int{"initLimit": c.InitLimit, "syncLimit": c.SyncLimit} {
		if limit == 0 && r.err == nil {
			r.err = &Error{Origin: Origin{File: c.File}, Key: key, Reason: key + " is not set"}
		}
	}
}

// parseMyID reads the first line of a myid.
func parseMyID(raw []byte) (int64, error) {
	line, _, _ := bytes.Cut(raw, []byte("\n"))
	line = bytes.TrimSuffix(line, []byte("\r"))
	if len(line) > 64 {
		return 0, fmt.Errorf("serverid %s… is not a number", line[:64])
	}
	id, err := strconv.ParseInt(string(line), 10, 64)
	if err != nil {
		return 0, fmt.Errorf("serverid %s is not a number", line)
	}
	return id, nil
}

// readMyID reads the server's number and finds its line among the members.
func (c *Config) readMyID(r *reader) {
	path := filepath.Join(c.DataDir, "myid")
	raw, err := os.ReadFile(path)
	switch {
	case errors.Is(err, fs.ErrNotExist) && c.Standalone:
	case errors.Is(err, fs.ErrNotExist):
		r.err = &Error{Origin: Origin{File: path}, Reason: "myid file is missing"}
		return
	case err != nil:
		r.err = &Error{Origin: Origin{File: path}, Reason: err.Error()}
		return
	default:
		id, err := parseMyID(raw)
		if err != nil {
			r.err = &Error{Origin: Origin{File: path, Line: 1}, Reason: err.Error()}
			return
		}
		c.ServerID = id
	}

	if me, ok := c.Ensemble.Find(c.ServerID); ok {
		c.Observer = me.Observer
		if want := strings.ToLower(r.text("peerType", "")); want != "" && (want == "observer") != me.Observer {
			r.warn("peerType", "differs from the role in server.%d; that role is taken", c.ServerID)
		}
		if me.HasClient {
			addr := net.JoinHostPort(me.ClientHost, strconv.Itoa(me.ClientPort))
			if c.ClientPort > 0 {
				own := net.JoinHostPort(c.ClientPortAddress, strconv.Itoa(c.ClientPort))
				anyHost := c.ClientPortAddress == "" || c.ClientPortAddress == "0.0.0.0"
				if !(me.ClientPort == c.ClientPort && (anyHost || c.ClientPortAddress == me.ClientHost)) {
					r.fail("clientPort", "client address for this server (id = %d) in static config file is %s is different from client address found in dynamic file: %s",
						c.ServerID, own, addr)
					return
				}
			}
			c.ClientPort, c.ClientPortAddress = me.ClientPort, me.ClientHost
		}
	} else if !c.Standalone {
		r.err = &Error{Origin: Origin{File: path, Line: 1}, Reason: fmt.Sprintf("My id %d not in the peer list", c.ServerID)}
		return
	} else if len(c.Ensemble.Servers) == 1 && c.Ensemble.Servers[0].HasClient && c.ClientPort <= 0 {
		c.ClientPort, c.ClientPortAddress = c.Ensemble.Servers[0].ClientPort, c.Ensemble.Servers[0].ClientHost
	}
	if c.ClientPort > 0 {
		host := c.ClientPortAddress
		if host == "0.0.0.0" {
			host = ""
		}
		c.ClientAddrs = []string{net.JoinHostPort(host, strconv.Itoa(c.ClientPort))}
	} else {
		r.warnings = append(r.warnings, Warning{Origin: Origin{File: c.File}, Key: "clientPort", Reason: "is not set: no client can connect"})
	}
}

// Members are the servers as a consensus module takes them; none standalone.
func (c *Config) Members() []consensus.Server {
	if c.Standalone {
		return nil
	}
	var out []consensus.Server
	for _, s := range c.Ensemble.Servers {
		m := consensus.Server{ID: consensus.ServerID(s.ID), Observer: s.Observer, Weight: 1}
		for _, a := range s.Addrs {
			m.Quorum = append(m.Quorum, net.JoinHostPort(a.Host, strconv.Itoa(a.QuorumPort)))
			m.Election = append(m.Election, net.JoinHostPort(a.Host, strconv.Itoa(a.ElectionPort)))
		}
		if s.HasClient {
			m.Client = net.JoinHostPort(s.ClientHost, strconv.Itoa(s.ClientPort))
		}
		if c.Ensemble.Hierarchical {
			m.Weight = c.Ensemble.Weights[s.ID]
			for _, g := range c.Ensemble.Groups {
				for _, id := range g.Members {
					if id == s.ID {
						m.Group = g.ID
					}
				}
			}
		}
		out = append(out, m)
	}
	return out
}

// EnsembleText is the membership as /zookeeper/config and conf show it; empty
// standalone.
func (c *Config) EnsembleText() string {
	if c.Standalone {
		return ""
	}
	return c.Ensemble.Text()
}
