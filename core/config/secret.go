package config

import (
	"io"
	"os"
	"strings"
	"time"
)

// The secret by which session passwords are made (zkcore.session.secretFile) is the first line of its
// file, the same on every server. A second line says since when:
//
//	5a0c…
//	since=2026-11-28T12:00:00Z
//
// Only sessions that a server numbers which was started later have such passwords, so that every server
// can get the file before the first of them needs it.
const (
	minSecret = 16
	maxSecret = 4096
)

func (c *Config) readSecret(r *reader) {
	const key = "zkcore.session.secretFile"
	name := r.text(key, "")
	if name == "" {
		return
	}
	if c.Mixed {
		r.warn(key, "has no effect while zkcore.ensemble.mixed is true: Apache's servers make passwords of their own")
		return
	}
	f, err := os.Open(name)
	if err != nil {
		r.fail(key, "%v", err)
		return
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, maxSecret+1))
	if err != nil {
		r.fail(key, "%v", err)
		return
	}
	if info, err := f.Stat(); err == nil && info.Mode().Perm()&0o007 != 0 {
		r.warn(key, "%s can be read by everybody on this machine", name)
	}
	secret, rest, _ := strings.Cut(strings.TrimSpace(string(b)), "\n")
	secret = strings.TrimSpace(secret)
	if len(secret) < minSecret || len(b) > maxSecret {
		r.fail(key, "%s: the secret on its first line has %d characters, and needs %d to %d", name, len(secret), minSecret, maxSecret)
		return
	}
	c.SessionSecret = []byte(secret)
	if rest = strings.TrimSpace(rest); rest == "" {
		return
	}
	text, ok := strings.CutPrefix(rest, "since=")
	since, err := time.Parse(time.RFC3339, text)
	if !ok || err != nil {
		r.fail(key, "%s: the second line is not since= and a time like 2026-11-28T12:00:00Z", name)
		return
	}
	c.SecretSince = since
}
