// Package judge decides whether the history of a run is one that zkcore promises.
//
// It is given what all clients saw and, where somebody looked, what the servers
// committed and have in the end (package history), and says what is wrong with
// it, by the numbers of the invariants:
//
//	v := judge.Judge(run, judge.Options{})
//	if err := v.Err(); err != nil { … }
//
// Each reply carries a zxid, which is the server's own claim about the order of
// things. The claim is checked against real time (order.go), against the sessions
// (session.go) and, above all, by replaying the committed requests through the
// plain model: each reply, each read and each event has to be the very one that
// the model gives at that zxid (replay.go, events.go). Porcupine, which knows no
// zxids, is asked for a second opinion if wanted (linear.go).
//
// Without the committed txns nobody knows what became of a write that was not
// answered. The checks that need to know are left out then, weaker ones take their
// place (blind.go), and Verdict.Blind says so. Verdict.Counts says how much there
// was to check, so that a caller can refuse a run that proves nothing.
package judge
