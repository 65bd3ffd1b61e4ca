// Package conn is the client ports: it accepts connections, keeps the limits on
// them, recognises four-letter words, cuts the stream into frames and writes
// what is to be sent.
//
// An idle connection costs one goroutine with a small stack and no buffer: it
// waits for the socket to become readable and takes a buffer from a pool when
// bytes are there. A busy one gets many frames out of one read and leaves many
// replies to one write. Whoever has something to send appends it and calls
// [Conn.Flush], which writes as much as the socket takes; only when the socket
// takes no more is a goroutine started, that writes the rest and ends.
//
// Everything that a client can grow is bounded: the greeting in size and time,
// frames by jute.maxbuffer and by the bytes that have really come, all large
// frames together by a budget, what waits for a slow reader by a limit after
// which the connection is closed, and what a client asks for by its own reading:
// while too much waits to be sent nothing more is executed for it. How many clients
// come in a time is bounded by a [Bucket], which the node asks.
//
// What is in a frame, who has which session and what is answered is package
// node's business.
package conn
