module github.com/zkcore/zkcore/consensus-zab

go 1.25.0

require (
	github.com/zkcore/zkcore/core v0.0.0
	github.com/zkcore/zkcore/plugins v0.0.0
)
