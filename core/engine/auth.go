package engine

import (
	"crypto/sha1"
	"crypto/subtle"
	"encoding/base64"
	"strings"

	"github.com/zkcore/zkcore/core/jute"
	"github.com/zkcore/zkcore/core/zkerr"
	"github.com/zkcore/zkcore/core/znode"
	"github.com/zkcore/zkcore/plugins/consensus"
)

// Authenticate checks credentials under a scheme and returns the identities that
// the connection gains. zkerr.AuthFailed closes it.
func (e *Engine) Authenticate(scheme string, data []byte, addr string) ([]consensus.Identity, zkerr.Code) {
	switch scheme {
	case znode.SchemeIP:
		return []consensus.Identity{{Scheme: znode.SchemeIP, ID: addr}}, zkerr.OK
	case znode.SchemeDigest:
		if e.opts.NoDigestAuth {
			return nil, zkerr.AuthFailed
		}
		id, ok := digestID(data)
		if !ok {
			return nil, zkerr.AuthFailed
		}
		ids := make([]consensus.Identity, 0, 2)
		if s := e.opts.SuperDigest; s != "" && subtle.ConstantTimeCompare([]byte(id), []byte(s)) == 1 {
			ids = append(ids, consensus.Identity{Scheme: znode.SchemeSuper})
		}
		return append(ids, consensus.Identity{Scheme: znode.SchemeDigest, ID: id}), zkerr.OK
	}
	return nil, zkerr.AuthFailed
}

// digestID makes user:hash of user:password. Apache's servers make text of what the client sends
// first, and znodes have the hash of that.
func digestID(data []byte) (string, bool) {
	text := jute.Text(data)
	user, _, _ := strings.Cut(text, ":")
	sum := sha1.Sum([]byte(text))
	return user + ":" + base64.StdEncoding.EncodeToString(sum[:]), data != nil
}
