// Package proto holds the records of the client protocol: what a client sends,
// what a server answers, and the numbers in them.
//
// A frame is an int length and that many bytes. What is in it, by direction and
// by its place on the connection:
//
//	client, first     ConnectRequest
//	server, first     ConnectResponse
//	client, then      RequestHeader, request record
//	server, then      ReplyHeader, response record if the error is 0
//	server, xid -1    ReplyHeader, WatcherEvent
//
// Every record can be decoded and appended, for servers and for clients. Strings
// that come out of a decoder are copies; byte slices alias the frame. Bytes
// behind a record are ignored, as Apache ignores them, and a record cut short is
// a zkerr.MarshallingError.
//
// Which operation may do what, in which order things are checked, and what makes
// an event are the engine's business; frames and sockets are conn's. The one
// rule here that is about meaning is the form of a path.
package proto
