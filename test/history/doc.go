// Package history holds what is known of a run: what its clients saw and, where
// somebody looked, what its servers committed and kept.
//
// A [Run] is made by the simulator or by the nemesis and judged by package judge.
// It can be written to a file and read again, so that a run that failed once is
// kept in testdata and judged for ever.
//
// The records of all clients stand in one [Log], in the order in which things
// happened: a client records a Call before its bytes can leave, and a Reply or an
// Event once its bytes have arrived, before anything comes of it. So when a reply
// stands before a call, it was known before the call was made, whoever made it.
//
// What a judge takes for granted of the clients is said at [Record]. Bytes are
// those of the wire's records, which package proto decodes. Clients themselves
// live with those who drive them.
package history
