package main

import "github.com/zkcore/zkcore/plugins/process"

func main() { process.ServeStorage(open) }
