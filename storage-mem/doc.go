// Package mem is the store that keeps all records in memory.
//
// It implements the contract of plugins/storage and nothing else: what is in a
// record is the engine's business, and making it durable is the transaction
// log's.
package mem
