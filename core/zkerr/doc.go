// Package zkerr holds the result codes of the client protocol, as errors.
//
// A [Code] is what the client gets; an [Error] carries one together with what
// the operator needs to know. [CodeOf] finds the code in any error, also in one
// that was made by a package that can't import this one: it asks for a method
// ZKCode() int32.
//
// What each operation answers in which case is the engine's business.
package zkerr
