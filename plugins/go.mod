module github.com/zkcore/zkcore/plugins

go 1.25.0
