package history

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"

	"github.com/zkcore/zkcore/core/jute"
)

// A Run is all that is known of a run.
type Run struct {
	About About
	// Records are what the clients did and saw, in order.
	Records []Record
	// Txns are all that was committed from zxid 1 on, in order of their zxids. nil
	// says that nobody looked, which makes a judge blind for much.
	Txns []Txn
	// Trees are what servers have in the end, as far as somebody looked.
	Trees []Tree
}

// About says how a run was made.
type About struct {
	Name string `json:"name,omitempty"` // the seed or the command that makes it again
	// ExtendedTypes, EnforceQuota, LocalSessions, SuperDigest, ConfigText and ConfigVersion are what the servers
	// were configured with, as in the engine's options.
	ExtendedTypes bool   `json:"extendedTypes,omitempty"`
	EnforceQuota  bool   `json:"enforceQuota,omitempty"`
	LocalSessions bool   `json:"localSessions,omitempty"` // no txn opens a session, unless it is to have an ephemeral
	SuperDigest   string `json:"superDigest,omitempty"`
	ConfigText    string `json:"configText,omitempty"`
	ConfigVersion int64  `json:"configVersion,omitempty"`
}

// A Txn is a committed txn: Data is header, record and digest, as logged.
type Txn struct {
	Zxid int64  `json:"zxid"`
	Data []byte `json:"data"`
}

// A Tree is the state of one server.
type Tree struct {
	Server   int             `json:"server"`
	Zxid     int64           `json:"zxid"` // of the last txn that made it
	Digest   uint64          `json:"digest"`
	Nodes    []Znode         `json:"nodes"` // in any order
	Sessions map[int64]int32 `json:"sessions"`
}

// A Znode is one of a tree, with what a snapshot holds of it.
type Znode struct {
	Path     string     `json:"path"`
	Data     []byte     `json:"data"` // nil is null
	ACL      []jute.ACL `json:"acl"`
	Czxid    int64      `json:"czxid"`
	Mzxid    int64      `json:"mzxid"`
	Pzxid    int64      `json:"pzxid"`
	Ctime    int64      `json:"ctime"`
	Mtime    int64      `json:"mtime"`
	Version  int32      `json:"version"`
	Creates  int32      `json:"creates"` // the stored cversion
	Aversion int32      `json:"aversion"`
	Owner    int64      `json:"owner"` // the stored ephemeralOwner
}

// line is one line of a file: one of the four.
type line struct {
	About  *About  `json:"about,omitempty"`
	Record *Record `json:"r,omitempty"`
	Txn    *Txn    `json:"txn,omitempty"`
	Tree   *Tree   `json:"tree,omitempty"`
	// Txns says that there are txns, even if none follows.
	Txns bool `json:"txns,omitempty"`
}

// Write writes the run, a line of JSON for each part of it.
func (run *Run) Write(w io.Writer) error {
	b := bufio.NewWriter(w)
	enc := json.NewEncoder(b)
	put := func(l line) error {
		if err := enc.Encode(l); err != nil {
			return fmt.Errorf("write the history: %w", err)
		}
		return nil
	}
	if err := put(line{About: &run.About, Txns: run.Txns != nil}); err != nil {
		return err
	}
	for i := range run.Records {
		if err := put(line{Record: &run.Records[i]}); err != nil {
			return err
		}
	}
	for i := range run.Txns {
		if err := put(line{Txn: &run.Txns[i]}); err != nil {
			return err
		}
	}
	for i := range run.Trees {
		if err := put(line{Tree: &run.Trees[i]}); err != nil {
			return err
		}
	}
	if err := b.Flush(); err != nil {
		return fmt.Errorf("write the history: %w", err)
	}
	return nil
}

// Read reads what Write wrote. A file that ends in the middle is an error.
func Read(r io.Reader) (*Run, error) {
	dec := json.NewDecoder(bufio.NewReader(r))
	dec.DisallowUnknownFields()
	run := &Run{}
	for n := 1; ; n++ {
		var l line
		err := dec.Decode(&l)
		switch {
		case err == io.EOF && n > 1:
			return run, nil
		case err != nil:
			return nil, fmt.Errorf("read the history: entry %d: %w", n, err)
		case (n == 1) != (l.About != nil):
			return nil, fmt.Errorf("read the history: entry %d: it does not begin with what the run is about", n)
		case l.Record != nil:
			run.Records = append(run.Records, *l.Record)
		case l.Txn != nil:
			run.Txns = append(run.Txns, *l.Txn)
		case l.Tree != nil:
			run.Trees = append(run.Trees, *l.Tree)
		case l.About != nil:
			run.About = *l.About
			if l.Txns {
				run.Txns = []Txn{}
			}
		}
	}
}
