module github.com/zkcore/zkcore/consensus-raft

go 1.26.0

require (
	github.com/zkcore/zkcore/core v0.0.0
	github.com/zkcore/zkcore/plugins v0.0.0
	go.etcd.io/raft/v3 v3.7.0
)

require (
	go.uber.org/goleak v1.3.0
	google.golang.org/protobuf v1.36.11
)
