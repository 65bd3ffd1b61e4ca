// Package client is a small ZooKeeper client, made for this project's own tools and tests.
//
//	c, err := client.Dial(ctx, []string{"127.0.0.1:2181"}, 10*time.Second, client.Options{})
//	r, err := c.Create(ctx, "/a", []byte("x"), client.Persistent)
//	r, err = c.Get(ctx, "/a") // r.Data, r.Stat.Version, r.Zxid
//	if errors.Is(err, zkerr.NoNode) { … }
//
// A [Client] is one session. It keeps it alive by heartbeats; when its connection breaks it goes
// to the next server with the same session, authenticates anew and sets its watches again, so that
// none is lost. Requests that were on the wire when the connection broke fail with
// zkerr.ConnectionLoss: they may or may not have been executed, and are not sent again. Requests
// made while there is no connection wait for one. An expired session is the end of its Client:
// every call answers zkerr.SessionExpired from then on.
//
// Each operation is a method that waits for its answer, and an [Op], which [Client.Start] sends
// without waiting and [Client.Multi] combines. Ops started by one goroutine are executed by the
// server in that order. Every answer is a [Reply], which tells the zxid, also beside an error.
//
// Not here: recipes, connection pools, TLS and SASL set-up (but see Options.Dial), a guess whether
// a failed write took place.
package client
