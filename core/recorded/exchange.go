package recorded

import (
	"bufio"
	"embed"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"fmt"
)

//go:embed testdata/exchanges-*.jsonl
var files embed.FS

// The releases that were recorded.
const (
	Release    = "3.9.5" // which zkcore says to be like
	OldRelease = "3.8.0" // Debian's
)

// An Exchange is what a client sent to Apache's server, and what came back.
type Exchange struct {
	Name  string
	Conn  string // the connection's name
	Sent  Hex    `json:"request_hex"` // whole frames; none: the client only listened
	Came  Hex    `json:"reply_hex"`   // whole frames, events among them
	Notes string
	// Closed says that the server closed the connection behind what came.
	Closed bool

	Request, Reply json.RawMessage // the same, decoded by who recorded it
}

// Hex is bytes, which files have in hexadecimal.
type Hex []byte

func (h *Hex) UnmarshalText(text []byte) (err error) {
	*h, err = hex.AppendDecode(nil, text)
	return err
}

// Exchanges are those with a release, in the order in which they happened.
func Exchanges(release string) ([]Exchange, error) {
	name := "testdata/exchanges-" + release + ".jsonl"
	f, err := files.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	var all []Exchange
	lines := bufio.NewScanner(f)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		var x Exchange
		if err := json.Unmarshal(lines.Bytes(), &x); err != nil {
			return nil, fmt.Errorf("%s:%d: %w", name, len(all)+1, err)
		}
		all = append(all, x)
	}
	return all, lines.Err()
}

// Frames cuts bytes into frames without their lengths. What is not a whole frame, as in the exchanges about lengths
// that no server takes, ends it.
func Frames(b []byte) (frames [][]byte) {
	for len(b) >= 4 {
		n := uint64(binary.BigEndian.Uint32(b))
		if uint64(len(b)) < 4+n {
			break
		}
		frames = append(frames, b[4:4+n])
		b = b[4+n:]
	}
	return frames
}
