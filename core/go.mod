module github.com/zkcore/zkcore/core

go 1.25.0

require (
	github.com/magiconair/properties v1.8.10
	github.com/prometheus/client_golang v1.23.2
	github.com/prometheus/client_model v0.6.2
	github.com/zkcore/zkcore/plugins v0.0.0
	go.uber.org/goleak v1.3.0
	pgregory.net/rapid v1.3.0
)
