// Package badinput holds no code but tests: what clients that are broken, slow, many or hostile send
// to a server, byte by byte on real sockets. After each of it the server is there, serves honest
// clients, has not grown beyond its bounds, and its log says who was refused and why.
//
// Real clients, which send nothing of the kind, are in test/clients; decoders alone are fuzzed in
// their own packages.
package badinput
