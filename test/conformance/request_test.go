package conformance

import (
	"bytes"
	"encoding/hex"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/zkcore/zkcore/core/jute"
	"github.com/zkcore/zkcore/core/proto"
)

// The words of a request: the operation's name, what it can't do without in this order, and what has a default.
//
//	create create2 createContainer createTTL   PATH data= acl= flags= ttl=
//	delete check                               PATH version=
//	exists getData getChildren getChildren2    PATH watch
//	setData                                    PATH data= version=
//	getACL sync getEphemerals getAllChildrenNumber deleteContainer   PATH
//	setACL                                     PATH acl= version=
//	multi multiRead                            and lines with "+" and an operation each; noend
//	checkWatches removeWatches                 PATH type=
//	addWatch                                   PATH mode=
//	setWatches setWatches2                     zxid= data= exist= child= persistent= recursive=
//	auth                                       SCHEME DATA
//	sasl                                       token=
//	reconfig                                   joining= leaving= members= config=
//	ping closeSession whoAmI                   nothing
//	op NUMBER                                  VALUE...
//	frame                                      VALUE...: the payload of a frame, from its header on
//	wire                                       VALUE...: bytes, without a length before them
//
// A VALUE is int:N, long:N, byte:N, bool:B, str:S, buf:S, or hex:BYTES. A string is null, or a word, or in quotes
// as in Go; s*N is s N times. Each request takes xid=, as= (the code of another operation), cut= (bytes taken from
// its end), extra= (bytes in hex put behind it), and norep for one that is not answered.
//
// An ACL is open, read, creator, null, empty, or a list of PERMS:SCHEME:ID.

// A request is one that is ready to be sent.
type request struct {
	name  string
	xid   int32
	op    proto.Op
	frame []byte // whole
	raw   bool   // it has no length before it and may be no frame at all
	quiet bool   // is not answered
}

// words are a request's, as they are used up.
type words struct {
	sc   *scene
	all  []string
	used []bool
	err  error
}

func (w *words) fail(format string, args ...any) {
	if w.err == nil {
		w.err = fmt.Errorf(format, args...)
	}
}

// next is the next word that has no "=".
func (w *words) next(what string) string {
	for i, s := range w.all {
		if !w.used[i] && !named(s) {
			w.used[i] = true
			return s
		}
	}
	w.fail("no %s", what)
	return ""
}

func named(s string) bool {
	k, _, ok := strings.Cut(s, "=")
	return ok && !strings.ContainsAny(k, "\"/:~")
}

// get is what stands behind key=.
func (w *words) get(key, def string) string {
	for i, s := range w.all {
		if v, ok := strings.CutPrefix(s, key+"="); ok && !w.used[i] {
			w.used[i] = true
			return v
		}
	}
	return def
}

func (w *words) has(flag string) bool {
	for i, s := range w.all {
		if s == flag && !w.used[i] {
			w.used[i] = true
			return true
		}
	}
	return false
}

func (w *words) number(key string, def int64) int64 {
	return w.parse(w.get(key, strconv.FormatInt(def, 10)), nil)
}

func (w *words) parse(s string, names map[string]int64) int64 {
	if n, ok := names[s]; ok {
		return n
	}
	n, err := strconv.ParseInt(s, 0, 64)
	if err != nil {
		u, err := strconv.ParseUint(s, 0, 64)
		if err != nil {
			w.fail("%q is no number", s)
		}
		return int64(u)
	}
	return n
}

// text is a string as it is written in tables.
func (w *words) text(s string) (text string, null bool) {
	if s == "null" {
		return "", true
	}
	body, times, repeated := s, 1, false
	if at := strings.LastIndexByte(s, '*'); at > 0 {
		if n, err := strconv.Atoi(s[at+1:]); err == nil {
			body, times, repeated = s[:at], n, true
		}
	}
	if strings.HasPrefix(body, `"`) {
		u, err := strconv.Unquote(body)
		if err != nil {
			w.fail("%s: %v", body, err)
		}
		body = u
	} else if !repeated {
		body = s
	}
	switch {
	case strings.HasPrefix(body, "~"):
		body = w.sc.base + body[1:]
	case strings.HasPrefix(body, "%"):
		body = quotas + w.sc.base + body[1:]
		w.sc.limited = true
	}
	return strings.Repeat(body, times), false
}

func (w *words) str(dst []byte, s string) []byte {
	text, null := w.text(s)
	return jute.AppendNullableString(dst, text, null)
}

// list is a vector of strings.
func (w *words) list(dst []byte, s string) []byte {
	if s == "null" {
		return jute.AppendNull(dst)
	}
	parts := strings.FieldsFunc(s, func(r rune) bool { return r == ',' })
	dst = jute.AppendCount(dst, len(parts))
	for _, p := range parts {
		dst = w.str(dst, p)
	}
	return dst
}

var lists = map[string]string{
	"open":    "31:world:anyone",
	"read":    "1:world:anyone",
	"creator": "31:auth:",
	"empty":   "",
}

func (w *words) acl(dst []byte, s string) []byte {
	if s == "null" {
		return jute.AppendNull(dst)
	}
	if l, ok := lists[s]; ok {
		s = l
	}
	entries := strings.FieldsFunc(s, func(r rune) bool { return r == ',' })
	dst = jute.AppendCount(dst, len(entries))
	for _, e := range entries {
		perms, rest, _ := strings.Cut(e, ":")
		scheme, id, _ := strings.Cut(rest, ":")
		dst = jute.AppendInt(dst, int32(w.parse(perms, nil)))
		dst = w.str(w.str(dst, scheme), id)
	}
	return dst
}

var flagNames = map[string]int64{"persistent": 0, "ephemeral": 1, "seq": 2, "eseq": 3, "container": 4, "ttl": 5, "ttlseq": 6}

var typeNames = map[string]int64{"children": 1, "data": 2, "any": 3, "persistent": 4, "recursive": 5}

var modeNames = map[string]int64{"persistent": 0, "recursive": 1}

var opByName = func() map[string]proto.Op {
	m := make(map[string]proto.Op)
	for op := proto.Op(-20); op < 200; op++ {
		m[op.String()] = op
	}
	return m
}()

// build makes a request of its words: those of lines with "+" are its operations.
func (sc *scene) build(line []string, subs [][]string, xid int32) (*request, error) {
	w := &words{sc: sc, all: line[1:], used: make([]bool, len(line)-1)}
	r := &request{name: line[0]}
	if line[0] == "frame" || line[0] == "wire" {
		r.quiet = w.has("norep")
		var b []byte
		for w.more() {
			b = w.value(b, w.next("value"))
		}
		r.raw = line[0] == "wire"
		r.frame = b
		if !r.raw {
			r.frame = append(jute.AppendInt(nil, int32(len(b))), b...)
			var h proto.RequestHeader
			if proto.Unmarshal(b, &h) == nil {
				r.xid, r.op = h.Xid, h.Op
			}
		}
		return r, w.err
	}
	op, ok := opByName[line[0]]
	if line[0] == "op" {
		op, ok = proto.Op(w.parse(w.next("number"), nil)), true
	}
	if !ok {
		return nil, fmt.Errorf("no operation is called %q", line[0])
	}
	switch op {
	case proto.OpPing:
		xid = proto.XidPing
	case proto.OpAuth:
		xid = proto.XidAuth
	case proto.OpSetWatches, proto.OpSetWatches2:
		xid = proto.XidSetWatches
	}
	r.xid = int32(w.number("xid", int64(xid)))
	r.op = op
	if s := w.get("as", ""); s != "" {
		if r.op, ok = opByName[s]; !ok {
			r.op = proto.Op(w.parse(s, nil))
		}
	}
	r.quiet = w.has("norep")
	cut := int(w.number("cut", 0))
	extra := w.hex(w.get("extra", ""))
	var body []byte
	if line[0] == "op" {
		for w.more() {
			body = w.value(body, w.next("value"))
		}
	} else {
		body = w.record(op)
	}
	if op == proto.OpMulti || op == proto.OpMultiRead {
		noend := w.has("noend")
		for _, s := range subs {
			body = w.sub(body, s)
		}
		if !noend {
			body = proto.AppendMultiEnd(body)
		}
	} else if len(subs) > 0 {
		return nil, fmt.Errorf("%s has no operations", line[0])
	}
	if cut > len(body) {
		return nil, fmt.Errorf("%d bytes can't be cut from %d", cut, len(body))
	}
	body = append(body[:len(body)-cut], extra...)
	h := proto.RequestHeader{Xid: r.xid, Op: r.op}
	payload := append(h.Append(nil), body...)
	r.frame = append(jute.AppendInt(nil, int32(len(payload))), payload...)
	if i := slices.Index(w.used, false); i >= 0 {
		w.fail("%q has no meaning there", w.all[i])
	}
	return r, w.err
}

func (w *words) more() bool {
	for i, s := range w.all {
		if !w.used[i] && !named(s) {
			return true
		}
	}
	return false
}

func (w *words) hex(s string) []byte {
	b, err := hex.DecodeString(s)
	if err != nil {
		w.fail("%q: %v", s, err)
	}
	return b
}

// value appends one value of its kind.
func (w *words) value(dst []byte, s string) []byte {
	kind, v, _ := strings.Cut(s, ":")
	switch kind {
	case "int":
		return jute.AppendInt(dst, int32(w.parse(v, nil)))
	case "long":
		return jute.AppendLong(dst, w.parse(v, nil))
	case "byte":
		return append(dst, byte(w.parse(v, nil)))
	case "bool":
		return jute.AppendBool(dst, v == "true")
	case "str", "buf":
		return w.str(dst, v)
	case "acl":
		return w.acl(dst, v)
	case "hex":
		return append(dst, w.hex(v)...)
	case "text":
		text, _ := w.text(v)
		return append(dst, text...)
	}
	w.fail("%q is no value", s)
	return dst
}

// sub appends an operation of a multi: a line that begins with "+".
func (w *words) sub(dst []byte, line []string) []byte {
	s := &words{sc: w.sc, all: line[1:], used: make([]bool, len(line)-1)}
	name := s.next("operation")
	if name == "end" {
		return proto.AppendMultiEnd(dst)
	}
	op, ok := opByName[name]
	if name == "value" {
		for s.more() {
			dst = s.value(dst, s.next("value"))
		}
		return dst
	}
	if !ok {
		w.fail("no operation is called %q", name)
		return dst
	}
	header := op
	if as := s.get("as", ""); as != "" {
		header = opByName[as]
	}
	dst = jute.AppendInt(dst, int32(header))
	dst = jute.AppendBool(dst, false)
	dst = jute.AppendInt(dst, int32(s.number("err", -1)))
	dst = append(dst, s.record(op)...)
	if i := slices.Index(s.used, false); i >= 0 {
		s.fail("%q has no meaning there", s.all[i])
	}
	if s.err != nil {
		w.fail("%w", s.err)
	}
	return dst
}

// record is the record of op.
func (w *words) record(op proto.Op) (b []byte) {
	path := func() { b = w.str(b, w.next("path")) }
	version := func() { b = jute.AppendInt(b, int32(w.number("version", -1))) }
	switch op {
	case proto.OpCreate, proto.OpCreate2, proto.OpCreateContainer, proto.OpCreateTTL:
		path()
		b = w.str(b, w.get("data", `""`))
		b = w.acl(b, w.get("acl", "open"))
		def := "persistent"
		switch op {
		case proto.OpCreateContainer:
			def = "container"
		case proto.OpCreateTTL:
			def = "ttl"
		}
		b = jute.AppendInt(b, int32(w.parse(w.get("flags", def), flagNames)))
		if op == proto.OpCreateTTL {
			b = jute.AppendLong(b, w.number("ttl", 100000))
		}
	case proto.OpDelete, proto.OpCheck:
		path()
		version()
	case proto.OpExists, proto.OpGetData, proto.OpGetChildren, proto.OpGetChildren2:
		path()
		def := int64(0)
		if w.has("watch") {
			def = 1
		}
		b = append(b, byte(w.number("watch", def)))
	case proto.OpSetData:
		path()
		b = w.str(b, w.get("data", `""`))
		version()
	case proto.OpGetACL, proto.OpSync, proto.OpGetEphemerals, proto.OpGetAllChildrenNum, proto.OpDeleteContainer:
		path()
	case proto.OpSetACL:
		path()
		b = w.acl(b, w.get("acl", "open"))
		version()
	case proto.OpCheckWatches, proto.OpRemoveWatches:
		path()
		b = jute.AppendInt(b, int32(w.parse(w.get("type", "any"), typeNames)))
	case proto.OpAddWatch:
		path()
		b = jute.AppendInt(b, int32(w.parse(w.get("mode", "persistent"), modeNames)))
	case proto.OpSetWatches, proto.OpSetWatches2:
		b = jute.AppendLong(b, w.sc.zxidOf(w, w.get("zxid", "last")))
		for _, key := range []string{"data", "exist", "child"} {
			b = w.list(b, w.get(key, ""))
		}
		if op == proto.OpSetWatches2 {
			b = w.list(b, w.get("persistent", ""))
			b = w.list(b, w.get("recursive", ""))
		}
	case proto.OpAuth:
		b = jute.AppendInt(b, int32(w.number("type", 0)))
		b = w.str(b, w.next("scheme"))
		data := "null"
		if w.more() {
			data = w.next("data")
		}
		b = w.str(b, data)
	case proto.OpSASL:
		b = w.str(b, w.get("token", `""`))
	case proto.OpReconfig:
		for _, key := range []string{"joining", "leaving", "members"} {
			b = w.str(b, w.get(key, "null"))
		}
		b = jute.AppendLong(b, w.sc.zxidOf(w, w.get("config", "-1")))
	}
	return b
}

// zxidOf is a zxid as it is written in tables: last is the last that was seen, +N is counted from where the row began.
func (sc *scene) zxidOf(w *words, s string) int64 {
	switch {
	case s == "last":
		return sc.last
	case strings.HasPrefix(s, "+"):
		return sc.first + w.parse(s[1:], nil)
	case strings.HasPrefix(s, "last+"):
		return sc.last + w.parse(s[5:], nil)
	}
	return w.parse(s, nil)
}

// greeting makes a ConnectRequest of its words.
func (sc *scene) greeting(line []string) ([]byte, error) {
	w := &words{sc: sc, all: line, used: make([]bool, len(line))}
	var sess session
	switch s := w.get("session", ""); {
	case s == "":
		sess.passwd = make([]byte, 16)
	case sc.sessions[s] != nil:
		sess = *sc.sessions[s]
	default:
		sess = session{id: w.parse(s, nil), passwd: make([]byte, 16)}
	}
	switch s := w.get("passwd", "right"); s {
	case "right":
	case "zeros":
		sess.passwd = make([]byte, 16)
	case "wrong":
		sess.passwd = bytes.Clone(sess.passwd)
		sess.passwd[15] ^= 1
	case "null":
		sess.passwd = nil
	default:
		text, _ := w.text(s)
		sess.passwd = []byte(text)
	}
	b := jute.AppendInt(nil, int32(w.number("version", 0)))
	b = jute.AppendLong(b, sc.zxidOf(w, w.get("zxid", "0")))
	b = jute.AppendInt(b, int32(w.number("timeout", 300_000)))
	b = jute.AppendLong(b, sess.id)
	b = jute.AppendBuffer(b, sess.passwd)
	switch s := w.get("readonly", "false"); s {
	case "absent":
	case "true", "false":
		b = jute.AppendBool(b, s == "true")
	default:
		b = append(b, byte(w.parse(s, nil)))
	}
	cut := int(w.number("cut", 0))
	b = append(b[:len(b)-cut], w.hex(w.get("extra", ""))...)
	if i := slices.Index(w.used, false); i >= 0 {
		w.fail("%q has no meaning there", w.all[i])
	}
	return append(jute.AppendInt(nil, int32(len(b))), b...), w.err
}
