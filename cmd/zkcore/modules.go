package main

import (
	raft "github.com/zkcore/zkcore/consensus-raft"
	zab "github.com/zkcore/zkcore/consensus-zab"
	"github.com/zkcore/zkcore/core/vfs"
	"github.com/zkcore/zkcore/plugins"
	"github.com/zkcore/zkcore/plugins/consensus"
	"github.com/zkcore/zkcore/plugins/storage"
	bolt "github.com/zkcore/zkcore/storage-bolt"
	mem "github.com/zkcore/zkcore/storage-mem"
)

// builtin is what this binary runs in its own process. To build a server with
// other modules, copy this folder and edit this list.
var builtin = plugins.Set{
	Consensus:    map[string]consensus.Open{"raft": raft.Open, "zab": zab.Open},
	Storage:      map[string]storage.Open{"mem": mem.Open, "bolt": bolt.Open},
	StorageTools: map[string]storage.Tools{"bolt": bolt.Tools},
}

// converters make the data directories of one consensus module those of another, by the
// names of the two. They return the last zxid.
var converters = map[[2]string]func(fsys vfs.FS, dataDir, logDir string) (consensus.Zxid, error){
	{"zab", "raft"}: raft.FromZab,
	{"raft", "zab"}: raft.ToZab,
}
