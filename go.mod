module github.com/zkcore/zkcore

go 1.25.0

require (
	github.com/go-zookeeper/zk v1.0.4
	github.com/spf13/cobra v1.10.2
	github.com/spf13/pflag v1.0.10
	github.com/zkcore/zkcore/consensus-zab v0.0.0
	github.com/zkcore/zkcore/core v0.0.0
	github.com/zkcore/zkcore/plugins v0.0.0
	github.com/zkcore/zkcore/storage-mem v0.0.0
	golang.org/x/term v0.37.0
)
