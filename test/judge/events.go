package judge

// wanted is an event that a connection is owed.
type wanted struct {
	zxid int64
}
