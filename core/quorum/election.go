package quorum

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
	"strconv"
	"strings"

	"github.com/zkcore/zkcore/core/jute"
)

// A ServerState is what a server is doing, as it tells its peers.
type ServerState int32

// The server states.
const (
	Looking   ServerState = 0
	Following ServerState = 1
	Leading   ServerState = 2
	Observing ServerState = 3
)

func (s ServerState) String() string {
	switch s {
	case Looking:
		return "LOOKING"
	case Following:
		return "FOLLOWING"
	case Leading:
		return "LEADING"
	case Observing:
		return "OBSERVING"
	}
	return "state " + strconv.Itoa(int(s))
}

// First words of an initial message; a server before 3.5 sends its id in their
// place.
const (
	InitialV1 int64 = -65536 // one address
	InitialV2 int64 = -65535 // one or more; 3.6 and later
)

// maxInitialAddrs is the most that the addresses may take. Apache's limit.
const maxInitialAddrs = 2048

// AnonymousObserver is the id of a server that wants to be given one.
const AnonymousObserver int64 = math.MaxInt64

// An InitialMessage opens a connection of the election port:
//
//	version long, sid long, length int, addresses
//
// with the addresses as host:port joined by '|', an IPv6 host in brackets. Its
// bytes must leave in a single write: Apache reads the addresses with one read.
type InitialMessage struct {
	Version int64 // InitialV1 or InitialV2; 0 is the bare id of an old server
	SID     int64
	Addrs   []HostPort // the sender's election addresses
}

// A HostPort is an address as the configuration has it, not resolved.
type HostPort struct {
	Host string
	Port int
}

// String returns host:port, an IPv6 host in brackets.
func (a HostPort) String() string { return bracket(a.Host) + ":" + strconv.Itoa(a.Port) }

func bracket(host string) string {
	if strings.Contains(host, ":") {
		return "[" + host + "]"
	}
	return host
}

// Append appends the message.
func (m *InitialMessage) Append(dst []byte) []byte {
	if m.Version == 0 {
		return jute.AppendLong(dst, m.SID)
	}
	dst = jute.AppendLong(dst, m.Version)
	dst = jute.AppendLong(dst, m.SID)
	at := len(dst)
	dst = jute.AppendInt(dst, 0)
	for i, a := range m.Addrs {
		if i > 0 {
			dst = append(dst, '|')
		}
		dst = append(dst, a.String()...)
	}
	binary.BigEndian.PutUint32(dst[at:], uint32(len(dst)-at-4))
	return dst
}

// ReadInitialMessage reads the message that opens a connection, and not a byte
// more.
func ReadInitialMessage(r io.Reader) (InitialMessage, error) {
	var m InitialMessage
	in := jute.NewReader(r, maxInitialAddrs)
	first := in.Long()
	if err := in.Err(); err != nil {
		return m, err
	}
	if first >= 0 {
		m.SID = first
		return m, nil
	}
	if first != InitialV1 && first != InitialV2 {
		return m, fmt.Errorf("initial message: unknown protocol version %d", first)
	}
	m.Version = first
	m.SID = in.Long()
	addrs := in.Buffer()
	if err := in.Err(); err == io.EOF {
		return m, io.ErrUnexpectedEOF
	} else if err != nil {
		return m, fmt.Errorf("initial message of server %d: %w", m.SID, err)
	}
	if len(addrs) == 0 {
		return m, fmt.Errorf("initial message of server %d: no address", m.SID)
	}
	for _, s := range strings.Split(string(addrs), "|") {
		a, err := parseHostPort(s)
		if err != nil {
			return m, fmt.Errorf("initial message of server %d: %w", m.SID, err)
		}
		m.Addrs = append(m.Addrs, a)
	}
	return m, nil
}

func parseHostPort(s string) (HostPort, error) {
	parts, err := splitHost(s)
	if err != nil {
		return HostPort{}, err
	}
	if len(parts) != 2 || !validHost(parts[0]) {
		return HostPort{}, fmt.Errorf("address %q is not host:port", s)
	}
	port, err := strconv.ParseUint(parts[1], 10, 16)
	if err != nil {
		return HostPort{}, fmt.Errorf("address %q: bad port number", s)
	}
	return HostPort{parts[0], int(port)}, nil
}

// MaxNotification is the longest message of the election port that Apache
// takes; it closes the connection on a longer one.
const MaxNotification = 524288

// ReadMessage reads the next message of the election port behind its length.
// Its bytes are appended to dst.
func ReadMessage(r io.Reader, dst []byte) ([]byte, error) {
	in := jute.NewReader(r, MaxNotification)
	n := in.Int()
	if err := in.Err(); err != nil {
		return nil, err
	}
	if n <= 0 || n > MaxNotification {
		return nil, fmt.Errorf("election message of %d bytes: %w", n, jute.ErrLength)
	}
	b := in.AppendBytes(dst, int(n))
	return b, in.Err()
}

// NotificationVersion is the format that carries a configuration.
const NotificationVersion int32 = 2

// A Notification is a server's vote as it tells its peers:
//
//	state int, leader long, zxid long, electionEpoch long, peerEpoch long,
//	version int, configLength int, config
//
// Older servers end it earlier: by 28 bytes no peerEpoch has come, by 40 the
// version, which Apache does not read then.
type Notification struct {
	State         ServerState
	Leader        int64
	Zxid          int64
	ElectionEpoch int64
	PeerEpoch     int64
	Version       int32
	Config        []byte // text of the sender's committed configuration; nil if it sent none
}

// Lengths of the old forms.
const (
	notificationNoEpoch   = 28
	notificationOldFormat = 40
)

// ErrNotification says that a notification can't be used. Apache drops it and
// keeps the connection.
var ErrNotification = errors.New("malformed notification")

// DecodeNotification reads a notification without its length. Config aliases b.
func DecodeNotification(b []byte) (Notification, error) {
	d := jute.NewDecoder(b)
	n := Notification{
		State:         ServerState(d.Int()),
		Leader:        d.Long(),
		Zxid:          d.Long(),
		ElectionEpoch: d.Long(),
	}
	if len(b) == notificationNoEpoch {
		n.PeerEpoch = n.Zxid >> 32
	} else {
		n.PeerEpoch = d.Long()
		if len(b) != notificationOldFormat {
			n.Version = d.Int()
		}
	}
	if n.Version >= NotificationVersion {
		if n.Config = d.Buffer(); n.Config == nil && d.Err() == nil {
			d.Fail(jute.ErrLength)
		}
	}
	if err := d.Err(); err != nil {
		return n, fmt.Errorf("%w of %d bytes: %w", ErrNotification, len(b), err)
	}
	if n.State < Looking || n.State > Observing {
		return n, fmt.Errorf("%w: %v", ErrNotification, n.State)
	}
	return n, nil
}

// Append appends the notification in the format that all servers since 3.5 send,
// whatever its Version says, and without a length before it.
func (n *Notification) Append(dst []byte) []byte {
	dst = jute.AppendInt(dst, int32(n.State))
	dst = jute.AppendLong(dst, n.Leader)
	dst = jute.AppendLong(dst, n.Zxid)
	dst = jute.AppendLong(dst, n.ElectionEpoch)
	dst = jute.AppendLong(dst, n.PeerEpoch)
	dst = jute.AppendInt(dst, NotificationVersion)
	return append(jute.AppendInt(dst, int32(len(n.Config))), n.Config...)
}

// AppendFrame appends the notification behind its length, as it goes on the
// wire.
func (n *Notification) AppendFrame(dst []byte) []byte {
	at := len(dst)
	dst = n.Append(jute.AppendInt(dst, 0))
	binary.BigEndian.PutUint32(dst[at:], uint32(len(dst)-at-4))
	return dst
}

// Vote returns the vote that the notification tells of.
func (n *Notification) Vote() Vote {
	return Vote{
		Leader:        n.Leader,
		Zxid:          n.Zxid,
		ElectionEpoch: n.ElectionEpoch,
		PeerEpoch:     n.PeerEpoch,
		State:         n.State,
		Version:       n.Version,
	}
}

// A Vote is for whom a server is, and why.
type Vote struct {
	Leader        int64 // sid of the proposed or present leader
	Zxid          int64 // last zxid of that leader
	ElectionEpoch int64 // round of the election
	PeerEpoch     int64 // epoch of that leader
	State         ServerState
	Version       int32 // format of the notification that it came by
}

// Beats says whether v is to replace c: by epoch, then zxid, then id. That the
// leader of v has a weight is for the caller to see to.
func (v Vote) Beats(c Vote) bool {
	if v.PeerEpoch != c.PeerEpoch {
		return v.PeerEpoch > c.PeerEpoch
	}
	if v.Zxid != c.Zxid {
		return v.Zxid > c.Zxid
	}
	return v.Leader > c.Leader
}

// Matches says whether v and o count as votes for the same. If one of them comes
// from a server that is looking, they must agree in everything. Those of settled
// servers need not: each tells the zxid and round by which it was elected, and
// servers of before 3.4.6 (version 0) tell another epoch.
func (v Vote) Matches(o Vote) bool {
	if v.Leader != o.Leader {
		return false
	}
	if v.State == Looking || o.State == Looking {
		return v.Zxid == o.Zxid && v.ElectionEpoch == o.ElectionEpoch && v.PeerEpoch == o.PeerEpoch
	}
	if (v.Version > 0) != (o.Version > 0) {
		return true
	}
	return v.PeerEpoch == o.PeerEpoch
}
