package main

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/zkcore/zkcore/core/zkerr"
	"github.com/zkcore/zkcore/internal/client"
)

// statBlock is how a Stat is printed.
func statBlock(s client.Stat) string {
	date := func(ms int64) string { return time.UnixMilli(ms).Format("Mon Jan 02 15:04:05 MST 2006") }
	return fmt.Sprintf(`cZxid = 0x%x
ctime = %s
mZxid = 0x%x
mtime = %s
pZxid = 0x%x
cversion = %d
dataVersion = %d
aclVersion = %d
ephemeralOwner = 0x%x
dataLength = %d
numChildren = %d
`, uint64(s.Czxid), date(s.Ctime), uint64(s.Mzxid), date(s.Mtime), uint64(s.Pzxid),
		s.Cversion, s.Version, s.Aversion, uint64(s.EphemeralOwner), s.DataLength, s.NumChildren)
}

const (
	hexHead = `         +-------------------------------------------------+
         |  0  1  2  3  4  5  6  7  8  9  a  b  c  d  e  f |
+--------+-------------------------------------------------+----------------+`
	hexFoot = `
+--------+-------------------------------------------------+----------------+`
)

// hexDump frames the bytes, 16 to a line; nothing comes of nothing.
func hexDump(b []byte) string {
	if len(b) == 0 {
		return ""
	}
	var s strings.Builder
	s.WriteString(hexHead)
	for at := 0; at < len(b); at += 16 {
		row := b[at:min(at+16, len(b))]
		var digits, text strings.Builder
		for _, c := range row {
			digits.WriteString(" " + hex.EncodeToString([]byte{c}))
			if c <= 0x1f || c >= 0x7f {
				c = '.'
			}
			text.WriteByte(c)
		}
		fmt.Fprintf(&s, "\n|%08x|%-48s |%-16s|", at, digits.String(), text.String())
	}
	s.WriteString(hexFoot)
	return s.String()
}

// codeMessages are the texts behind "KeeperErrorCode = " that differ from the codes' names.
var codeMessages = map[zkerr.Code]string{
	zkerr.OK:                           "ok",
	zkerr.NotEmpty:                     "Directory not empty",
	zkerr.SessionExpired:               "Session expired",
	zkerr.InvalidCallback:              "Invalid callback",
	zkerr.SessionMoved:                 "Session moved",
	zkerr.NotReadOnly:                  "Not a read-only call",
	zkerr.EphemeralOnLocalSession:      "Ephemeral node on local session",
	zkerr.NoWatcher:                    "No such watcher",
	zkerr.ReconfigDisabled:             "Reconfig is disabled",
	zkerr.SessionClosedRequireSASLAuth: "Session closed because client failed to authenticate",
	zkerr.QuotaExceeded:                "Quota has exceeded",
	zkerr.ThrottledOp:                  "Op throttled due to high load",
}

// keeperMessage is what Apache's shell prints for a code that has no sentence of its own.
func keeperMessage(code zkerr.Code, path string) string {
	text, ok := codeMessages[code]
	if !ok {
		text = code.String()
	}
	text = "KeeperErrorCode = " + text
	if path != "" {
		text += " for " + path
	}
	return text
}

// sentences are the codes that have one. Each is followed by the path.
var sentences = map[zkerr.Code]string{
	zkerr.NoNode:                  "Node does not exist: ",
	zkerr.NoChildrenForEphemerals: "Ephemerals cannot have children: ",
	zkerr.NodeExists:              "Node already exists: ",
	zkerr.NotEmpty:                "Node not empty: ",
	zkerr.NotReadOnly:             "Not a read-only call: ",
	zkerr.InvalidACL:              "Acl is not valid : ",
	zkerr.NoAuth:                  "Insufficient permission : ",
	zkerr.BadArguments:            "Arguments are not valid : ",
	zkerr.BadVersion:              "version No is not valid : ",
	zkerr.QuotaExceeded:           "Quota has exceeded : ",
}

// message is the line that an error prints.
func message(err error) string {
	var path *client.PathError
	var zk *zkerr.Error
	switch {
	case errors.As(err, &path):
		return path.Reason
	case errors.Is(err, context.DeadlineExceeded):
		return keeperMessage(zkerr.ConnectionLoss, "")
	case !errors.As(err, &zk):
		return err.Error()
	}
	switch zk.Code {
	case zkerr.ReconfigInProgress:
		return "Another reconfiguration is in progress -- concurrent reconfigs not supported (yet)"
	case zkerr.NewConfigNoQuorum:
		return "No quorum of new config is connected and up-to-date with the leader of last commmitted config - try invoking reconfiguration after new servers are connected and synced"
	}
	if s, ok := sentences[zk.Code]; ok {
		if zk.Path == "" {
			return s + "null"
		}
		return s + zk.Path
	}
	return keeperMessage(zk.Code, zk.Path)
}

// usageText is the list of all commands.
func usageText() string {
	var b strings.Builder
	b.WriteString("ZooKeeper -server host:port -client-configuration properties-file cmd args")
	for _, name := range slices.Sorted(maps.Keys(usages)) {
		b.WriteString("\n\t" + name + " " + usages[name])
	}
	return b.String()
}

// permLetters are the permissions of an ACL, in the order in which they are printed.
var permLetters = []struct {
	letter byte
	bit    int32
}{{'c', 4}, {'d', 8}, {'r', 1}, {'w', 2}, {'a', 16}}

func permString(perms int32) string {
	var s []byte
	for _, p := range permLetters {
		if perms&p.bit != 0 {
			s = append(s, p.letter)
		}
	}
	return string(s)
}

// parseACL reads scheme:id:perms, comma-separated. What does not fit is complained of and left out.
func parseACL(arg string, complain func(string)) []client.ACL {
	list := []client.ACL{}
	for entry := range strings.SplitSeq(strings.TrimRight(arg, ","), ",") {
		first, last := strings.IndexByte(entry, ':'), strings.LastIndexByte(entry, ':')
		if first < 0 || first == last {
			complain(entry + " does not have the form scheme:id:perm")
			continue
		}
		acl := client.ACL{Scheme: entry[:first], ID: entry[first+1 : last]}
	letters:
		for _, c := range entry[last+1:] {
			for _, p := range permLetters {
				if rune(p.letter) == c {
					acl.Perms |= p.bit
					continue letters
				}
			}
			complain("Unknown perm type: " + string(c))
		}
		list = append(list, acl)
	}
	return list
}
