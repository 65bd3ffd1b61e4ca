// Package mixed proves that zkcore and Apache ZooKeeper are one ensemble: it runs real processes of
// both, side by side and one after the other on the same data, and checks that each takes the other's
// bytes on the wire and on disk, that every acknowledged write is there, once, and that all servers
// have the same tree and no digest that differs.
//
// Apache's server is Debian's (3.8.0), or the release that ZKCORE_TEST_APACHE_CLASSPATH names: the
// tests pass with 3.9.5 too. Where leaders are killed under load it is 3.9.5. With ZKCORE_TEST_SERVER=apache
// all servers are Apache's, which shows what the tests ask of Apache alone. What an ensemble of zkcore
// alone must do is in test/e2e.
package mixed
