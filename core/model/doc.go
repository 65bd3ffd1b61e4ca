// Package model is ZooKeeper's rules once more, with nothing in mind but to be
// plainly right: a map of znodes, a map of sessions, a map of watches.
//
// Tests hold the server against it: the engine's property tests feed both with
// the same requests, and the judge of histories replays what was committed. So it
// shares no code with what it is to find wrong. It imports the codec, which says
// what the bytes of a request mean, and none of the engine's packages.
//
// A [Model] takes requests in the order of their zxids and says what each client
// is answered and which events each watcher is owed. It never applies a txn: what
// the leader made of a request is for the model to say.
//
// What depends on time is not here: whether a session or a TTL node may end is
// its caller's business, which tells it that one has.
package model
