// Package clients holds no code but tests: ZooKeeper's real clients, unchanged, against real servers.
//
// Apache's Java shell, kazoo, the C client, Curator, go-zookeeper and node-zookeeper-client each go through what their
// users do with them, the death of the server they are connected to included: each recipe is at work, by several clients,
// when it dies, and what the recipe promises is looked at afterwards. A broker's registration, as Kafka does it, is played
// through on go-zookeeper. Clients in other languages are small programs in a folder of their own. They print one line
// for each case and ask the Go test to kill and start servers; see driver_test.go for how they talk.
//
// setup/install.sh installs the clients. A missing one fails its test.
package clients
