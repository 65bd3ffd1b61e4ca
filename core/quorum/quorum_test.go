package quorum

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/zkcore/zkcore/core/jute"
	"pgregory.net/rapid"
)

// A message is one that a running server sent.
type message struct {
	File      string `json:"-"`
	Type      string
	Direction string
	Hex       string
	Decoded   map[string]any
}

func messages(t testing.TB) (all []message) {
	files, err := filepath.Glob("testdata/*.jsonl")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range files {
		f, err := os.Open(name)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		s := bufio.NewScanner(f)
		s.Buffer(nil, 1<<20)
		for s.Scan() {
			m := message{File: filepath.Base(name)}
			d := json.NewDecoder(bytes.NewReader(s.Bytes()))
			d.UseNumber()
			if err := d.Decode(&m); err != nil {
				t.Fatal(err)
			}
			all = append(all, m)
		}
	}
	if len(all) < 150 {
		t.Fatalf("only %d messages", len(all))
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

func TestApacheMessages(t *testing.T) {
	seen := map[string]int{}
	for i, m := range messages(t) {
		seen[m.Type]++
		b := unhex(t, m.Hex)
		name := fmt.Sprintf("%d, %s in %s", i, m.Type, m.File)
		var got map[string]any
		switch m.Type {
		case "AUTH", "SNAPSTREAM":
			continue // of the SASL exchange and of the snapshot format
		case "INIT":
			got = initial(t, name, b)
		case "NOTIFICATION":
			got = notification(t, name, b)
		default:
			got = packet(t, name, m, b)
		}
		if got := normal(t, got); !reflect.DeepEqual(got, any(m.Decoded)) {
			t.Errorf("%s:\n got %v\nwant %v", name, got, m.Decoded)
		}
	}
	for typ := TypeRequest; typ <= TypeInformAndActivate; typ++ {
		if seen[typ.String()] == 0 {
			t.Errorf("no message %v", typ)
		}
	}
	if seen["INIT"] == 0 || seen["NOTIFICATION"] == 0 {
		t.Error("no messages of the election port")
	}
}

// normal is v as it looks after a trip through JSON.
func normal(t *testing.T, v any) any {
	b, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	d := json.NewDecoder(bytes.NewReader(b))
	d.UseNumber()
	var out any
	if err := d.Decode(&out); err != nil {
		t.Fatal(err)
	}
	return out
}

func hexLong(v int64) string { return fmt.Sprintf("%#x", uint64(v)) }

func initial(t *testing.T, name string, b []byte) map[string]any {
	r := bytes.NewReader(append(bytes.Clone(b), "behind"...))
	m, err := ReadInitialMessage(r)
	if err != nil {
		t.Errorf("%s: %v", name, err)
	}
	if r.Len() != len("behind") {
		t.Errorf("%s: %d bytes left", name, r.Len())
	}
	if got := m.Append(nil); !bytes.Equal(got, b) {
		t.Errorf("%s: encoded again\n got %x\nwant %x", name, got, b)
	}
	var addrs []string
	for _, a := range m.Addrs {
		addrs = append(addrs, a.String())
	}
	text := strings.Join(addrs, "|")
	return map[string]any{"protocolVersion": m.Version, "sid": m.SID, "addrLength": len(text), "addr": text}
}

func notification(t *testing.T, name string, b []byte) map[string]any {
	msg, err := ReadMessage(bytes.NewReader(b), nil)
	if err != nil {
		t.Errorf("%s: %v", name, err)
	}
	n, err := DecodeNotification(msg)
	if err != nil {
		t.Errorf("%s: %v", name, err)
	}
	if got := n.AppendFrame(nil); !bytes.Equal(got, b) {
		t.Errorf("%s: encoded again\n got %x\nwant %x", name, got, b)
	}
	checkText(t, name, string(n.Config))
	m := map[string]any{"state": n.State.String(), "zxid": hexLong(n.Zxid), "electionEpoch": hexLong(n.ElectionEpoch),
		"peerEpoch": hexLong(n.PeerEpoch), "version": fmt.Sprintf("%#x", n.Version), "configLength": len(n.Config),
		"config": string(n.Config), "leader": n.Leader}
	if n.Leader < 0 {
		m["leader"] = n.Leader
	}
	return m
}

// checkText checks that a server's configuration text is canonical for us too.
func checkText(t *testing.T, name, text string) {
	t.Helper()
	c, err := ParseConfig(text, false)
	if err != nil {
		t.Errorf("%s: %v", name, err)
	} else if got := c.Text(); got != text {
		t.Errorf("%s:\n got %q\nwant %q", name, got, text)
	}
}

func packet(t *testing.T, name string, m message, b []byte) map[string]any {
	var p Packet
	d := jute.NewDecoder(b)
	if p.Decode(&d); d.Err() != nil || d.Remaining() != 0 {
		t.Errorf("%s: %v, %d bytes left", name, d.Err(), d.Remaining())
	}
	if got := p.Append(nil); !bytes.Equal(got, b) {
		t.Errorf("%s: encoded again\n got %x\nwant %x", name, got, b)
	}
	var q Packet
	if err := q.Read(jute.NewReader(bytes.NewReader(b), len(b))); err != nil || !reflect.DeepEqual(p, q) {
		t.Errorf("%s: from a stream: %+v, %v", name, q, err)
	}
	if p.Type.String() != m.Type {
		t.Errorf("%s: type %v", name, p.Type)
	}
	got := map[string]any{"zxid": hexLong(p.Zxid), "authinfo": nil}
	if p.AuthInfo != nil {
		ids := []any{}
		for _, id := range p.AuthInfo {
			ids = append(ids, map[string]any{"scheme": id.Scheme, "id": id.ID})
		}
		got["authinfo"] = ids
	}
	up := m.Direction == "learner->leader"
	check := func(again []byte, err error) {
		t.Helper()
		if err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if !bytes.Equal(again, p.Data) {
			t.Errorf("%s: payload encoded again\n got %x\nwant %x", name, again, p.Data)
		}
	}
	var payload any
	switch p.Type {
	case TypeFollowerInfo, TypeObserverInfo:
		v, ok := DecodeLearnerInfo(p.Data)
		if !ok {
			t.Errorf("%s: no info", name)
		}
		check(v.Append(nil), nil)
		payload = map[string]any{"serverid": v.ServerID, "protocolVersion": fmt.Sprintf("%#x", v.ProtocolVersion),
			"configVersion": hexLong(v.ConfigVersion)}
	case TypeLeaderInfo:
		v, err := DecodeInt(p.Data)
		check(AppendInt(nil, v), err)
		payload = map[string]any{"protocolVersion": fmt.Sprintf("%#x", v)}
	case TypeAckEpoch:
		v, err := DecodeInt(p.Data)
		check(AppendInt(nil, v), err)
		payload = map[string]any{"currentEpoch": v}
	case TypeNewLeader:
		checkText(t, name, string(p.Data))
		payload = map[string]any{"config": string(p.Data)}
	case TypeRequest:
		v, err := DecodeRequest(p.Data)
		check(v.Append(nil), err)
		payload = map[string]any{"sessionId": hexLong(v.SessionID), "cxid": v.Cxid, "opcode": v.Op, "body": hex.EncodeToString(v.Body)}
	case TypePing:
		if up {
			v, err := DecodeTouches(p.Data)
			check(AppendTouches(nil, v), err)
			sessions := []any{}
			for _, s := range v {
				sessions = append(sessions, map[string]any{"sessionId": hexLong(s.SessionID), "timeout": s.TimeoutMS})
			}
			payload = map[string]any{"sessions": sessions}
		}
	case TypeRevalidate:
		if up {
			v, err := DecodeRevalidate(p.Data)
			check(v.Append(nil), err)
			payload = map[string]any{"sessionId": hexLong(v.SessionID), "timeout": v.TimeoutMS}
		} else {
			v, err := DecodeRevalidated(p.Data)
			check(v.Append(nil), err)
			payload = map[string]any{"sessionId": hexLong(v.SessionID), "valid": v.Valid}
		}
	case TypeCommitAndActivate:
		leader, rest, err := DecodeActivate(p.Data)
		check(AppendActivate(nil, leader, nil), err)
		if len(rest) != 0 {
			t.Errorf("%s: a txn in COMMITANDACTIVATE", name)
		}
		payload = map[string]any{"designatedLeader": leader}
	case TypeInformAndActivate:
		leader, txn, err := DecodeActivate(p.Data)
		check(AppendActivate(nil, leader, txn), err)
		if want, _ := m.Decoded["payload"].(map[string]any); fmt.Sprint(want["designatedLeader"]) != fmt.Sprint(leader) {
			t.Errorf("%s: designated leader %d", name, leader)
		}
		payload = m.Decoded["payload"] // the txn is package txn's
	case TypeProposal, TypeInform:
		payload = m.Decoded["payload"]
	default:
		if p.Data != nil {
			t.Errorf("%s: data %x", name, p.Data)
		}
	}
	got["payload"] = payload
	return got
}

func TestNames(t *testing.T) {
	for _, tc := range []struct{ got, want string }{
		{TypeUpToDate.String(), "UPTODATE"},
		{PacketType(0).String(), "packet type 0"},
		{PacketType(20).String(), "packet type 20"},
		{PacketType(-1).String(), "packet type -1"},
		{Looking.String(), "LOOKING"},
		{Following.String(), "FOLLOWING"},
		{Leading.String(), "LEADING"},
		{Observing.String(), "OBSERVING"},
		{ServerState(4).String(), "state 4"},
		{HostPort{"::1", 3888}.String(), "[::1]:3888"},
	} {
		if tc.got != tc.want {
			t.Errorf("got %s, want %s", tc.got, tc.want)
		}
	}
}

func TestPacketStream(t *testing.T) {
	a := Packet{Type: TypeAck, Zxid: 1}
	b := Packet{Type: TypeRequest, Zxid: -1, Data: []byte("x"), AuthInfo: []jute.ID{{Scheme: "ip", ID: "::1"}}}
	stream := b.Append(AppendPacket(nil, a.Type, a.Zxid, a.Data))
	for cut := range len(stream) + 1 {
		r := jute.NewReader(iotest.OneByteReader(bytes.NewReader(stream[:cut])), 9)
		var got []Packet
		var err error
		for err == nil {
			var p Packet
			if err = p.Read(r); err == nil {
				got = append(got, p)
			}
		}
		var want []Packet
		wantErr := io.ErrUnexpectedEOF
		if cut >= MinPacketSize {
			want = append(want, a)
		}
		if cut == len(stream) {
			want = append(want, b)
		}
		if cut == 0 || cut == MinPacketSize || cut == len(stream) {
			wantErr = io.EOF
		}
		if !reflect.DeepEqual(got, want) || err != wantErr {
			t.Errorf("cut to %d: %+v, %v", cut, got, err)
		}
	}
	var p Packet
	if err := p.Read(jute.NewReader(bytes.NewReader(stream[MinPacketSize:]), 0)); err != jute.ErrLength {
		t.Errorf("data over the limit: %v", err)
	}
}

func TestLearnerInfo(t *testing.T) {
	full := LearnerInfo{ServerID: 3, ProtocolVersion: ProtocolVersion, ConfigVersion: 1 << 32}
	b := full.Append(nil)
	for n := range len(b) + 4 {
		var want LearnerInfo
		if n >= 8 {
			want.ServerID = full.ServerID
		}
		if n >= 12 {
			want.ProtocolVersion = full.ProtocolVersion
		}
		if n >= 20 {
			want.ConfigVersion = full.ConfigVersion
		}
		got, ok := DecodeLearnerInfo(append(bytes.Clone(b), 1, 2, 3)[:n])
		if got != want || ok != (n >= 8) {
			t.Errorf("%d bytes: %+v, %v", n, got, ok)
		}
	}
}

func TestShortPayloads(t *testing.T) {
	for name, decode := range map[string]func(b []byte) error{
		"int":         func(b []byte) error { _, err := DecodeInt(b); return err },
		"activate":    func(b []byte) error { _, _, err := DecodeActivate(b); return err },
		"request":     func(b []byte) error { _, err := DecodeRequest(b); return err },
		"touches":     func(b []byte) error { _, err := DecodeTouches(append(b, make([]byte, 12)...)); return err },
		"revalidate":  func(b []byte) error { _, err := DecodeRevalidate(b); return err },
		"revalidated": func(b []byte) error { _, err := DecodeRevalidated(b); return err },
	} {
		if err := decode([]byte{1, 2, 3}); !errors.Is(err, jute.ErrShort) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if AppendTouches(nil, nil) == nil {
		t.Error("no touches are null")
	}
	if v, err := DecodeTouches(nil); err != nil || len(v) != 0 {
		t.Errorf("no touches: %v, %v", v, err)
	}
}

func TestInitialMessage(t *testing.T) {
	for _, m := range []InitialMessage{
		{SID: 0},
		{SID: 5},
		{SID: AnonymousObserver},
		{Version: InitialV1, SID: -3, Addrs: []HostPort{{"zoo1", 3888}}},
		{Version: InitialV1, SID: 1, Addrs: []HostPort{{"::1", 0}}},
		{Version: InitialV2, SID: 1, Addrs: []HostPort{{"a", 65535}, {"fe80::1%eth0", 3888}, {"10.0.0.1", 1}}},
	} {
		b := m.Append(nil)
		r := iotest.OneByteReader(bytes.NewReader(b))
		if got, err := ReadInitialMessage(r); err != nil || !reflect.DeepEqual(got, m) {
			t.Errorf("got %+v, %v, want %+v", got, err, m)
		}
		for n := range b {
			want := io.ErrUnexpectedEOF
			if n == 0 {
				want = io.EOF
			}
			if _, err := ReadInitialMessage(bytes.NewReader(b[:n])); !errors.Is(err, want) {
				t.Errorf("cut to %d: %v", n, err)
			}
		}
	}
	message := func(addrs string) []byte {
		return jute.AppendString(jute.AppendLong(jute.AppendLong(nil, InitialV2), 1), addrs)
	}
	for _, tc := range []struct {
		name string
		b    []byte
		want string
	}{
		{"other version", jute.AppendLong(nil, -1), "unknown protocol version -1"},
		{"no address", message(""), "no address"},
		{"null address", append(message("")[:16], 0xff, 0xff, 0xff, 0xff), "no address"},
		{"too long", message(strings.Repeat("a", maxInitialAddrs+1)), "unreasonable length"},
		{"no port", message("host"), "is not host:port"},
		{"no host", message(":1"), "is not host:port"},
		{"bad port", message("host:65536"), "bad port number"},
		{"not a port", message("host:x"), "bad port number"},
		{"second one bad", message("host:1|"), "is not host:port"},
		{"no bracket", message("[::1"), "no matching"},
	} {
		if _, err := ReadInitialMessage(bytes.NewReader(tc.b)); err == nil || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%s: %v", tc.name, err)
		}
	}
}

func TestReadMessage(t *testing.T) {
	frame := func(n int32, b ...byte) *bytes.Reader { return bytes.NewReader(append(jute.AppendInt(nil, n), b...)) }
	for _, n := range []int32{0, -1, MaxNotification + 1} {
		if _, err := ReadMessage(frame(n), nil); !errors.Is(err, jute.ErrLength) {
			t.Errorf("length %d: %v", n, err)
		}
	}
	if _, err := ReadMessage(frame(MaxNotification, 1), nil); err != io.ErrUnexpectedEOF {
		t.Errorf("cut short: %v", err)
	}
	if _, err := ReadMessage(bytes.NewReader(nil), nil); err != io.EOF {
		t.Errorf("end: %v", err)
	}
	if b, err := ReadMessage(frame(2, 7, 8), make([]byte, 0, 9)); err != nil || !bytes.Equal(b, []byte{7, 8}) {
		t.Errorf("%v, %v", b, err)
	}
}

// Every length that some version sends, and those between them.
func TestNotificationLengths(t *testing.T) {
	full := Notification{State: Following, Leader: 3, Zxid: 5<<32 | 7, ElectionEpoch: 2, PeerEpoch: 6, Config: []byte("version=0")}
	b := full.Append(nil)
	for n := range len(b) + 1 {
		got, err := DecodeNotification(b[:n])
		want := full
		want.Version, want.Config = 0, nil
		ok := true
		switch n {
		case 28:
			want.PeerEpoch = 5
		case 40:
		case len(b):
			want = full
			want.Version = NotificationVersion
		default:
			ok = false
		}
		if (err == nil) != ok || ok && !reflect.DeepEqual(got, want) {
			t.Errorf("%d bytes: %+v, %v", n, got, err)
		}
		if err != nil && !errors.Is(err, ErrNotification) {
			t.Errorf("%d bytes: %v", n, err)
		}
	}
	// Version 1 has no configuration, whatever follows.
	binary.BigEndian.PutUint32(b[36:], 1)
	if n, err := DecodeNotification(b); err != nil || n.Version != 1 || n.Config != nil {
		t.Errorf("version 1: %+v, %v", n, err)
	}
	binary.BigEndian.PutUint32(b[36:], 2)
	for _, length := range []uint32{0xffffffff, 0xfffffffe, 10, 0x7fffffff} {
		binary.BigEndian.PutUint32(b[40:], length)
		if _, err := DecodeNotification(b); !errors.Is(err, ErrNotification) {
			t.Errorf("configuration of length %d: %v", int32(length), err)
		}
	}
	for _, state := range []uint32{4, 0xffffffff} {
		b := full.Append(nil)
		binary.BigEndian.PutUint32(b, state)
		if _, err := DecodeNotification(b); !errors.Is(err, ErrNotification) {
			t.Errorf("state %d: %v", int32(state), err)
		}
	}
}

func TestVoteBeats(t *testing.T) {
	c := Vote{Leader: 2, Zxid: 20, PeerEpoch: 5}
	for _, tc := range []struct {
		v    Vote
		want bool
	}{
		{c, false},
		{Vote{Leader: 3, Zxid: 20, PeerEpoch: 5}, true},
		{Vote{Leader: 1, Zxid: 20, PeerEpoch: 5}, false},
		{Vote{Leader: 1, Zxid: 21, PeerEpoch: 5}, true},
		{Vote{Leader: 3, Zxid: 19, PeerEpoch: 5}, false},
		{Vote{Leader: 1, Zxid: 1, PeerEpoch: 6}, true},
		{Vote{Leader: 3, Zxid: 99, PeerEpoch: 4}, false},
		{Vote{Leader: -1 << 63, Zxid: -1 << 63, PeerEpoch: -1 << 63}, false}, // an observer's
	} {
		if got := tc.v.Beats(c); got != tc.want {
			t.Errorf("%+v: %v", tc.v, got)
		}
	}
}

func TestVoteMatches(t *testing.T) {
	base := Vote{Leader: 2, Zxid: 20, ElectionEpoch: 3, PeerEpoch: 5, State: Following, Version: 2}
	with := func(f func(v *Vote)) Vote { v := base; f(&v); return v }
	for _, tc := range []struct {
		name string
		v    Vote
		want bool
	}{
		{"the same", base, true},
		{"other leader", with(func(v *Vote) { v.Leader = 3 }), false},
		{"settled, other zxid and round", with(func(v *Vote) { v.Zxid, v.ElectionEpoch = 1, 1 }), true},
		{"settled, other epoch", with(func(v *Vote) { v.PeerEpoch = 6 }), false},
		{"settled, other epoch, one without version", with(func(v *Vote) { v.PeerEpoch, v.Version = 6, 0 }), true},
		{"looking", with(func(v *Vote) { v.State = Looking }), true},
		{"looking, other zxid", with(func(v *Vote) { v.State, v.Zxid = Looking, 1 }), false},
		{"looking, other round", with(func(v *Vote) { v.State, v.ElectionEpoch = Looking, 1 }), false},
		{"looking, other epoch", with(func(v *Vote) { v.State, v.PeerEpoch, v.Version = Looking, 1, 0 }), false},
	} {
		if got := tc.v.Matches(base); got != tc.want {
			t.Errorf("%s: %v", tc.name, got)
		}
		if got := base.Matches(tc.v); got != tc.want {
			t.Errorf("%s, the other way: %v", tc.name, got)
		}
	}
	n := Notification{State: Leading, Leader: 2, Zxid: 20, ElectionEpoch: 3, PeerEpoch: 5, Version: 2}
	if v := n.Vote(); v != with(func(v *Vote) { v.State = Leading }) {
		t.Errorf("vote of a notification: %+v", v)
	}
}

func TestRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		p := Packet{Type: PacketType(rapid.Int32().Draw(t, "type")), Zxid: rapid.Int64().Draw(t, "zxid")}
		if rapid.Bool().Draw(t, "data") {
			p.Data = rapid.SliceOf(rapid.Byte()).Draw(t, "bytes")
		}
		if rapid.Bool().Draw(t, "ids") {
			p.AuthInfo = rapid.SliceOf(rapid.Custom(func(t *rapid.T) jute.ID {
				return jute.ID{Scheme: rapid.String().Draw(t, "scheme"), ID: rapid.String().Draw(t, "id")}
			})).Draw(t, "authinfo")
		}
		var got Packet
		b := p.Append(nil)
		if err := got.Read(jute.NewReader(bytes.NewReader(b), len(b))); err != nil || !reflect.DeepEqual(got, p) {
			t.Fatalf("got %+v, %v\nwant %+v", got, err, p)
		}

		n := Notification{
			State:         ServerState(rapid.IntRange(0, 3).Draw(t, "state")),
			Leader:        rapid.Int64().Draw(t, "leader"),
			Zxid:          rapid.Int64().Draw(t, "zxid"),
			ElectionEpoch: rapid.Int64().Draw(t, "round"),
			PeerEpoch:     rapid.Int64().Draw(t, "epoch"),
			Version:       NotificationVersion,
			Config:        rapid.SliceOf(rapid.Byte()).Draw(t, "config"),
		}
		if got, err := DecodeNotification(n.Append(nil)); err != nil || !reflect.DeepEqual(got, n) {
			t.Fatalf("got %+v, %v\nwant %+v", got, err, n)
		}

		touches := rapid.SliceOf(rapid.Custom(func(t *rapid.T) Touch {
			return Touch{rapid.Int64().Draw(t, "session"), rapid.Int32().Draw(t, "timeout")}
		})).Draw(t, "touches")
		if got, err := DecodeTouches(AppendTouches(nil, touches)); err != nil || !reflect.DeepEqual(got, touches) {
			t.Fatalf("got %+v, %v\nwant %+v", got, err, touches)
		}
	})
}

// A membership in letters of any alphabet is as long as its bytes are, in a notification
// as in NEWLEADER (ZOOKEEPER-4787).
func TestConfigOfManyAlphabets(t *testing.T) {
	text := "server.1=zookéeper-ü.例え.example:2888:3888:participant\nserver.2=😀:2888:3888:participant;0.0.0.0:2181\nversion=ff"
	c, err := ParseConfig(text, false)
	if err != nil {
		t.Fatal(err)
	}
	if c.Text() != text {
		t.Fatalf("%q", c.Text())
	}
	n := Notification{State: Looking, Leader: 2, Version: NotificationVersion, Config: []byte(text)}
	got, err := DecodeNotification(n.Append(nil))
	if err != nil || string(got.Config) != text {
		t.Fatalf("%q, %v", got.Config, err)
	}
	b, err := ReadMessage(bytes.NewReader(append(n.AppendFrame(nil), n.AppendFrame(nil)...)), nil)
	if err != nil || len(b) != len(n.Append(nil)) {
		t.Fatalf("%d bytes, %v", len(b), err)
	}
	m := InitialMessage{Version: InitialV2, SID: 2, Addrs: []HostPort{{"例え", 3888}}}
	if again, err := ReadInitialMessage(bytes.NewReader(m.Append(nil))); err != nil || !reflect.DeepEqual(again, m) {
		t.Fatalf("%+v, %v", again, err)
	}
}
