module github.com/zkcore/zkcore/storage-mem

go 1.25.0

require github.com/zkcore/zkcore/plugins v0.0.0
