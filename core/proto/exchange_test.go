package proto

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/zkcore/zkcore/core/jute"
	"github.com/zkcore/zkcore/core/zkerr"
)

// An exchange is what a client sent to a running server and what came back.
type exchange struct {
	Name    string
	Conn    string
	Request json.RawMessage
	Reply   json.RawMessage
	ReqHex  string `json:"request_hex"`
	RepHex  string `json:"reply_hex"`
}

// exchanges is the file of those with a release. Package recorded, which has them, imports this one.
func exchanges(version string) string {
	return filepath.Join("..", "recorded", "testdata", "exchanges-"+version+".jsonl")
}

func readLines[T any](t testing.TB, name string) (all []T) {
	f, err := os.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	s := bufio.NewScanner(f)
	s.Buffer(nil, 1<<20)
	for s.Scan() {
		var v T
		if err := json.Unmarshal(s.Bytes(), &v); err != nil {
			t.Fatal(err)
		}
		all = append(all, v)
	}
	if err := s.Err(); err != nil || len(all) == 0 {
		t.Fatalf("%s: %d lines, %v", name, len(all), err)
	}
	return all
}

func unhex(t testing.TB, s string) []byte {
	b, err := hex.DecodeString(s)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// frames cuts a stream into what is in its frames. What does not look like one,
// as in the exchanges about bad lengths, ends it.
func frames(b []byte) (fs [][]byte) {
	for len(b) >= 4 {
		n := int(int32(binary.BigEndian.Uint32(b)))
		if n < 0 || n > len(b)-4 {
			return fs
		}
		fs = append(fs, b[4:4+n])
		b = b[4+n:]
	}
	return fs
}

// notCanonical are the exchanges whose request has bytes behind its record.
var notCanonical = map[string]bool{"create_extra_bytes": true}

func TestExchanges(t *testing.T) {
	for _, version := range []string{"3.8.0", "3.9.5"} {
		t.Run(version, func(t *testing.T) {
			requests, replies := map[Op]int{}, map[Op]int{}
			asked := map[string]map[int32]Op{} // by connection and xid
			for _, x := range readLines[exchange](t, exchanges(version)) {
				if asked[x.Conn] == nil {
					asked[x.Conn] = map[int32]Op{}
				}
				// Some connections are recorded from behind their first frame.
				connecting := strings.Contains(string(x.Request), "protocolVersion") || x.Name == "pipelined_connect_and_requests"
				connects := connecting
				for _, f := range frames(unhex(t, x.ReqHex)) {
					if connecting {
						connecting = false
						checkRecord(t, x.Name, f, new(ConnectRequest))
						continue
					}
					op, err := checkRequest(t, x.Name, f, asked[x.Conn])
					requests[op]++
					want := expected(t, x)
					bad := err != nil
					switch {
					case x.Name == "multi_invalid_create_flags" && version == "3.8.0":
						// There it was the error of that one op.
						if !bad {
							t.Errorf("%s: decodes", x.Name)
						}
					case op == OpDeleteContainer && version == "3.8.0":
						// There the record was the bare path.
					case bad != (want == zkerr.MarshallingError):
						t.Errorf("%s: decoding says %v, the server said %v", x.Name, err, want)
					case bad && zkerr.CodeOf(err) != zkerr.MarshallingError:
						t.Errorf("%s: %v has code %v", x.Name, err, zkerr.CodeOf(err))
					}
				}
				var got []any
				for _, f := range frames(unhex(t, x.RepHex)) {
					if connects {
						connects = false
						var r ConnectResponse
						checkRecord(t, x.Name, f, &r)
						got = append(got, describeConnect(&r))
						continue
					}
					op, v := checkReply(t, x.Name, f, asked[x.Conn])
					replies[op]++
					got = append(got, v)
				}
				compareReply(t, x, got)
			}
			for op := range opNames {
				switch op {
				case OpNotification, OpError, OpCreateSession:
					continue // not for clients
				case OpCheck, OpReconfig, OpDeleteContainer, OpPing, OpCloseSession, OpAuth:
				default:
					if replies[op] == 0 {
						t.Errorf("no exchange has a reply to %v", op)
					}
				}
				if requests[op] == 0 {
					t.Errorf("no exchange has a request %v", op)
				}
			}
		})
	}
}

// checkRecord decodes f and encodes it again.
func checkRecord(t *testing.T, name string, f []byte, r Record) {
	t.Helper()
	if err := Unmarshal(f, r); err != nil {
		t.Errorf("%s: %T: %v", name, r, err)
	} else if got := r.Append(nil); !bytes.Equal(got, f) && !notCanonical[name] {
		t.Errorf("%s: %T encoded again\n got %x\nwant %x", name, r, got, f)
	} else if notCanonical[name] && !bytes.HasPrefix(f, got) {
		t.Errorf("%s: %T encoded again\n got %x\nwant it to begin %x", name, r, got, f)
	}
}

func checkRequest(t *testing.T, name string, f []byte, asked map[int32]Op) (Op, error) {
	d := jute.NewDecoder(f)
	var h RequestHeader
	h.Decode(&d)
	if d.Err() != nil {
		t.Fatalf("%s: %v", name, d.Err())
	}
	if got := h.Append(nil); !bytes.Equal(got, f[:RequestHeaderSize]) {
		t.Errorf("%s: header encoded again: %x", name, got)
	}
	asked[h.Xid] = h.Op
	body := d.Rest()
	if err := CheckRequest(h.Op, body); err != nil {
		return h.Op, err
	}
	if r := NewRequest(h.Op); r != nil {
		checkRecord(t, name, body, r)
	}
	return h.Op, nil
}

func checkReply(t *testing.T, name string, f []byte, asked map[int32]Op) (Op, map[string]any) {
	d := jute.NewDecoder(f)
	var h ReplyHeader
	h.Decode(&d)
	if d.Err() != nil {
		t.Fatalf("%s: %v", name, d.Err())
	}
	if got := h.Append(nil); !bytes.Equal(got, f[:ReplyHeaderSize]) {
		t.Errorf("%s: header encoded again: %x", name, got)
	}
	v := map[string]any{"xid": h.Xid, "zxid": h.Zxid, "err": h.Err}
	body := d.Rest()
	if h.Xid == XidNotification {
		var e WatcherEvent
		checkRecord(t, name, body, &e)
		v["event"] = map[string]any{"type": e.Type, "state": e.State, "path": e.Path}
		return OpNotification, v
	}
	op := asked[h.Xid]
	r := NewResponse(op)
	if r == nil || h.Err != zkerr.OK && len(body) == 0 {
		if len(body) != 0 {
			t.Errorf("%s: %v has a response", name, op)
		}
		return op, v
	}
	checkRecord(t, name, body, r)
	v["body"] = describe(op, r)
	return op, v
}

// expected returns the error that the server answered with, OK if it did not
// answer.
func expected(t *testing.T, x exchange) zkerr.Code {
	var replies []struct{ Err zkerr.Code }
	if !bytes.HasPrefix(x.Reply, []byte("[")) {
		return zkerr.OK
	}
	if err := json.Unmarshal(x.Reply, &replies); err != nil {
		t.Fatalf("%s: %v", x.Name, err)
	}
	for _, r := range replies {
		if r.Err != zkerr.OK {
			return r.Err
		}
	}
	return zkerr.OK
}

// compareReply compares with what the vector says that the reply means.
func compareReply(t *testing.T, x exchange, got []any) {
	t.Helper()
	var want any
	if err := json.Unmarshal(x.Reply, &want); err != nil {
		t.Fatal(err)
	}
	wants, list := want.([]any)
	if !list {
		if want == nil && len(got) == 0 {
			return
		}
		wants = []any{want}
	}
	b, err := json.Marshal(got)
	if err != nil {
		t.Fatal(err)
	}
	var gots []any
	if err := json.Unmarshal(b, &gots); err != nil {
		t.Fatal(err)
	}
	if len(gots) != len(wants) {
		t.Errorf("%s: %d replies, want %d", x.Name, len(gots), len(wants))
		return
	}
	for i := range wants {
		if wants[i] == nil {
			continue // a connect response among others is not described
		}
		if !reflect.DeepEqual(gots[i], wants[i]) {
			t.Errorf("%s:\n got %v\nwant %v", x.Name, gots[i], wants[i])
		}
	}
}

func describeConnect(r *ConnectResponse) map[string]any {
	m := map[string]any{"protocolVersion": r.ProtocolVersion, "timeOut": r.TimeoutMS, "sessionId": r.SessionID,
		"passwd": hex.EncodeToString(r.Passwd)}
	if r.HasReadOnly {
		m["readOnly"] = r.ReadOnly
	}
	return m
}

func describeStat(s *Stat) any {
	return map[string]any{"czxid": s.Czxid, "mzxid": s.Mzxid, "ctime": s.Ctime, "mtime": s.Mtime, "version": s.Version,
		"cversion": s.Cversion, "aversion": s.Aversion, "ephemeralOwner": s.EphemeralOwner, "dataLength": s.DataLength,
		"numChildren": s.NumChildren, "pzxid": s.Pzxid}
}

func describeData(b []byte) any {
	if b == nil {
		return nil
	}
	return hex.EncodeToString(b)
}

// describe says what is in a response in the words of the vectors.
func describe(op Op, r Record) any {
	switch r := r.(type) {
	case *PathResponse:
		return map[string]any{"path": r.Path}
	case *AnyPathRequest:
		return map[string]any{"path": r.Path}
	case *Create2Response:
		return map[string]any{"path": r.Path, "stat": describeStat(&r.Stat)}
	case *Stat:
		return map[string]any{"stat": describeStat(r)}
	case *GetDataResponse:
		return map[string]any{"data": describeData(r.Data), "stat": describeStat(&r.Stat)}
	case *GetACLResponse:
		acl := []any{}
		for _, a := range r.ACL {
			acl = append(acl, map[string]any{"perms": a.Perms, "scheme": a.Scheme, "id": a.ID})
		}
		return map[string]any{"acl": acl, "stat": describeStat(&r.Stat)}
	case *StringsResponse:
		if op == OpGetEphemerals {
			return map[string]any{"ephemerals": r.Strings}
		}
		return map[string]any{"children": r.Strings}
	case *GetChildren2Response:
		return map[string]any{"children": r.Children, "stat": describeStat(&r.Stat)}
	case *IntResponse:
		if op == OpAddWatch {
			return map[string]any{"err": r.Value}
		}
		return map[string]any{"totalNumber": r.Value}
	case *WhoAmIResponse:
		ids := []any{}
		for _, c := range r.ClientInfo {
			ids = append(ids, map[string]any{"authScheme": c.AuthScheme, "user": c.User})
		}
		return map[string]any{"clientInfo": ids}
	case *SASLToken:
		return map[string]any{"token": describeData(r.Token)}
	case *MultiResponse:
		results := []any{}
		for i := range r.Results {
			res := &r.Results[i]
			m := map[string]any{"type": res.Op, "done": false, "err": res.Err}
			switch res.Op {
			case OpCreate:
				m["path"] = res.Path
			case OpCreate2:
				m["path"], m["stat"] = res.Path, describeStat(&res.Stat)
			case OpSetData:
				m["stat"] = describeStat(&res.Stat)
			case OpGetData:
				m["data"], m["stat"] = describeData(res.Data), describeStat(&res.Stat)
			case OpGetChildren:
				m["children"] = res.Children
			case OpError:
				m["error"] = res.Err
			}
			results = append(results, m)
		}
		results = append(results, map[string]any{"type": -1, "done": true, "err": -1})
		return map[string]any{"results": results}
	}
	return nil
}

func TestConnectRequests(t *testing.T) {
	n := 0
	for _, x := range readLines[exchange](t, exchanges("3.9.5")) {
		if !strings.Contains(string(x.Request), "protocolVersion") {
			continue
		}
		n++
		var want struct {
			ProtocolVersion int32
			LastZxidSeen    int64
			TimeOut         int32
			SessionID       int64
			Passwd          *string
			ReadOnly        *bool
		}
		if err := json.Unmarshal(x.Request, &want); err != nil {
			t.Fatal(err)
		}
		var r ConnectRequest
		if err := Unmarshal(frames(unhex(t, x.ReqHex))[0], &r); err != nil {
			t.Fatalf("%s: %v", x.Name, err)
		}
		w := ConnectRequest{ProtocolVersion: want.ProtocolVersion, LastZxidSeen: want.LastZxidSeen, TimeoutMS: want.TimeOut,
			SessionID: want.SessionID}
		if want.Passwd != nil {
			w.Passwd = unhex(t, *want.Passwd)
		}
		if want.ReadOnly != nil {
			w.ReadOnly, w.HasReadOnly = *want.ReadOnly, true
		}
		if !reflect.DeepEqual(r, w) {
			t.Errorf("%s:\n got %+v\nwant %+v", x.Name, r, w)
		}
	}
	if n < 10 {
		t.Errorf("only %d connect requests", n)
	}
}

// The frames of a login: sasl requests count their xids like all others.
func TestSASLFrames(t *testing.T) {
	type line struct {
		Direction string
		Frame     string `json:"frame_hex"`
		Notes     string
	}
	asked := map[int32]Op{}
	for i, l := range readLines[line](t, "testdata/sasl-digest-md5.jsonl") {
		f := frames(unhex(t, l.Frame))[0]
		switch {
		case i == 0:
			checkRecord(t, l.Notes, f, new(ConnectRequest))
		case i == 1:
			checkRecord(t, l.Notes, f, new(ConnectResponse))
		case l.Direction == "client":
			if _, err := checkRequest(t, l.Notes, f, asked); err != nil {
				t.Errorf("%s: %v", l.Notes, err)
			}
		default:
			checkReply(t, l.Notes, f, asked)
		}
	}
	if len(asked) < 3 || asked[1] != OpSASL {
		t.Errorf("requests: %v", asked)
	}
}
