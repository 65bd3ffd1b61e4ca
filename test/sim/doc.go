// Package sim runs a whole ensemble in one process, on one thread and in virtual time:
// nodes with their engine, sessions and request path, a consensus module, stores, logs and
// snapshots on simulated disks, and clients on a simulated network.
//
// One seed is one run, bit for bit. It draws what the ensemble looks like, how its clients
// behave and which harm is done to it: connections that break, stall, go half-open or drain
// while a new one works; partitions of every shape; machines that lose their power with any
// part of what was not synced, processes that end, sleep and come back; disks that are slow,
// full or fail; clocks that drift and jump.
//
// While it runs each step is checked from within: what nodes are given, who leads, what is on
// the disks when something is answered. At the end the harm stops, the ensemble has to come
// together and serve, and package judge holds everything that the clients saw against the
// committed order.
//
// What is simulated is the world, not the server. Package node runs on a [node.World] of
// virtual time, its clients' connections are ports in memory, and the consensus module is
// opened by a [Module], one for each: they run the code that serves users.
package sim
