package jute

// An Error says why a record could not be decoded. Its ZKCode is that of a
// marshalling error, by which package zkerr knows it without an import.
type Error string

// The two ways in which input fails to be a record.
const (
	// ErrShort: the input ends before the record does.
	ErrShort Error = "jute: record is cut short"
	// ErrLength: a length or count is negative and not -1, or larger than allowed.
	ErrLength Error = "jute: unreasonable length"
)

func (e Error) Error() string { return string(e) }

// ZKCode is the protocol's code for a record that can't be decoded.
func (Error) ZKCode() int32 { return -5 }

// Is makes errors.Is find the protocol's code in e.
func (e Error) Is(target error) bool {
	c, ok := target.(interface{ ZKCode() int32 })
	if !ok {
		return false
	}
	if other, same := target.(Error); same {
		return e == other
	}
	return c.ZKCode() == e.ZKCode()
}
