package node

import (
	"crypto/hmac"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/zkcore/zkcore/core/proto"
	"github.com/zkcore/zkcore/core/simbug"
	"github.com/zkcore/zkcore/core/vfs"
)

// secretFile, beside the snapshots, has the secret of a server that is alone, and the number from
// which on its sessions have passwords made with it. Those of before have Apache's: their clients
// may still come back.
const secretFile = "sessionSecret"

// numberOf is a session's number among its server's.
const numberOf = 1<<56 - 1

// openSecret reads the secret that this server made for itself, or keeps one for ever.
func (n *Node) openSecret() error {
	if len(n.cfg.OwnSecret) == 0 || len(n.cfg.SessionSecret) > 0 {
		return nil
	}
	dir := n.snaps.dirs.Snap
	name := filepath.Join(dir, secretFile)
	b, err := vfs.ReadFile(n.cfg.FS, name, 4096)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		n.cfg.SessionSecret, n.cfg.SecretFrom = n.cfg.OwnSecret, n.ids.After(0)&numberOf
		text := fmt.Appendf(nil, "%x %x\n", n.cfg.SessionSecret, n.cfg.SecretFrom)
		if err := vfs.Private(n.cfg.FS, name+".tmp"); err != nil {
			return fmt.Errorf("session secret: %w", err)
		}
		if err := vfs.WriteFile(n.cfg.FS, dir, name+".tmp", name, text); err != nil {
			return fmt.Errorf("session secret: %w", err)
		}
		return nil
	case err != nil:
		return err
	}
	key, from, _ := strings.Cut(strings.TrimSpace(string(b)), " ")
	secret, err := hex.DecodeString(key)
	number, nerr := strconv.ParseInt(from, 16, 64)
	if err != nil || nerr != nil || len(secret) < 16 {
		return fmt.Errorf("%s is not what this server wrote: remove it, and clients of sessions that are open have to begin new ones", name)
	}
	n.cfg.SessionSecret, n.cfg.SecretFrom = secret, number
	return nil
}

// mac is the keyed hash of a session's id, nil for one that has none.
func (n *Node) mac(session int64, what string) []byte {
	c := &n.cfg
	if len(c.SessionSecret) == 0 || session&numberOf < c.SecretFrom {
		return nil
	}
	m := hmac.New(sha256.New, c.SessionSecret)
	m.Write(binary.BigEndian.AppendUint64(nil, uint64(session)))
	m.Write([]byte(what))
	return m.Sum(nil)
}

// password is what a client shows to come back to a session.
func (n *Node) password(session int64) [16]byte {
	if m := n.mac(session, ""); m != nil {
		return [16]byte(m)
	}
	return proto.SessionPassword(session)
}

func (n *Node) isPassword(session int64, given []byte) bool {
	if simbug.On("password-unchecked") && session != 0 {
		return true // who knows the id is the client
	}
	want := n.password(session)
	return session != 0 && subtle.ConstantTimeCompare(want[:], given) == 1
}

// readOnlyPassword is what the client of a session shows that is for reading only: no
// session of the ensemble has it, so that everybody knows what has become of the other.
func (n *Node) readOnlyPassword(session int64) [16]byte {
	if m := n.mac(session, "read-only"); m != nil {
		return [16]byte(m)
	}
	p := proto.SessionPassword(session)
	for i := range p {
		p[i] = ^p[i]
	}
	return p
}

func (n *Node) isReadOnlyPassword(session int64, given []byte) bool {
	want := n.readOnlyPassword(session)
	return subtle.ConstantTimeCompare(want[:], given) == 1
}
