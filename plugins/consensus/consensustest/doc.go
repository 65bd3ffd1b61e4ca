// Package consensustest checks that a consensus module keeps the promises of package
// consensus. A module's own test calls Run with its Open.
//
// A Node here is the smallest thing that a member can drive: its state is the last zxid
// and a digest of all that was delivered, so that two nodes of which one missed,
// repeated or swapped a transaction differ for ever. It watches over the order of the
// calls as it gets them, and over what each of them may bring.
package consensustest
