# zkcore: what a developer and a release need. `make help` lists it.
SHELL := /bin/bash
.DEFAULT_GOAL := help

VERSION ?= $(shell cat VERSION)
REVISION := $(shell git rev-parse --short=12 HEAD 2>/dev/null || echo unknown)
BUILT := $(shell date -u '+%m/%d/%Y %H:%M UTC')
PKG := github.com/zkcore/zkcore/core/admin
LDFLAGS := -s -w -X '$(PKG).version=$(VERSION)' -X '$(PKG).revision=$(REVISION)' -X '$(PKG).built=$(BUILT)'
MODULES := . consensus-raft consensus-zab core plugins plugins/process storage-bolt storage-mem
# A stranger's modules: each has a workspace of its own, and nothing of it is in a release.
EXAMPLES := examples/storage-pebble
BUF := github.com/bufbuild/buf/cmd/buf@v1.50.0
STATICCHECK := honnef.co/go/tools/cmd/staticcheck@v0.8.2
GOVULNCHECK := golang.org/x/vuln/cmd/govulncheck@v1.9.0
export CGO_ENABLED ?= 0

.PHONY: help build run ensemble ensemble-stop test unit e2e e2e-modules sim planted nemesis conformance oracle soak clients setup lint vuln fuzz fuzz-round examples generate bench dist tidy clean

help: ## list the targets
	@grep -hE '^[a-z0-9-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 18

BUILD ?= build
build: ## build the programs into build/
	@mkdir -p $(BUILD)
	go build -trimpath -ldflags "$(LDFLAGS)" -o $(BUILD)/ ./cmd/...

run: build ## start a server on 2181 with data under ./data
	@mkdir -p data
	@sed -e "s|^dataDir=.*|dataDir=$(CURDIR)/data|" conf/zoo_sample.cfg >data/zoo.cfg
	@echo "Connect with:  bin/zkCli.sh -server localhost:2181      (or any ZooKeeper client)"
	@echo "Ask after it:  echo srvr | nc localhost 2181            (stop it with Ctrl-C)"
	@exec build/zkcore --config=data/zoo.cfg

ensemble: build ## start three servers on loopback (2181, 2182, 2183)
	@scripts/ensemble.sh start

ensemble-stop: ## stop them
	@scripts/ensemble.sh stop

test: setup build ## everything that must pass, with what it needs installed
	@scripts/test.sh "lint unit examples sim planted" "e2e e2e-modules nemesis conformance oracle clients"

setup: ## install the real clients that the tests use
	@test/clients/setup/install.sh

lint: ## gofmt, vet, staticcheck
	@out="$$(gofmt -l $$(git ls-files '*.go'))"; [ -z "$$out" ] || { echo "gofmt would change:"; echo "$$out"; exit 1; }
	go vet work
	cd core && go vet -tags failpoints ./failpoint/ ./vfs/
	go vet -tags simbug ./test/sim/
	@for m in $(MODULES); do echo "staticcheck $$m"; (cd $$m && go run $(STATICCHECK) ./...) || exit 1; done

unit: ## the tests of every module, with the race detector
	@# In one go, the slowest first: bolt looks at the checksums of all that it reads, which the race detector
	@# makes ten times slower, and what else there is fills the other processors meanwhile.
	CGO_ENABLED=1 go test -race -timeout 30m ./storage-bolt/... ./plugins/... ./plugins/process/... ./core/... ./consensus-zab/... ./consensus-raft/... ./storage-mem/... \
		./cmd/... ./internal/... ./test/arch/... ./test/history/... ./test/judge/...
	@# The kit is smaller under the race detector.
	go test -timeout 10m ./storage-bolt ./storage-mem ./plugins/storage/behind -run TestContract

examples: ## modules as a stranger would write them, by the kits
	@for m in $(EXAMPLES); do echo "== $$m"; (cd $$m && go vet ./... && go test -timeout 15m ./...) || exit 1; done

e2e: build ## real processes: ensembles, kills, bad input
	go test -count=1 -timeout 25m -p 1 ./test/harness/... ./test/e2e/... ./test/badinput/... ./test/release/... ./test/mixed/... ./test/process/...

# The end-to-end suite over the combinations of modules: e2e is all of it with zab and mem. Here it is all of it for
# Raft with bolt, and for zab with mem as processes, without what chooses its own modules and has run already; for
# the other combinations it is what a module's place could change most.
E2EOWN := TestBolt|TestRaft|TestConvert|TestStorageMoves|TestModule|TestPluginCommand|TestStoodStill
E2ESHORT := ^(TestKillAll|TestPausedLeader|TestTrunc)$$
E2EFULL := raft+bolt process:zab+process:mem
E2EREST := zab+bolt raft+mem zab+process:bolt process:raft+mem process:zab+process:bolt process:raft+process:mem process:raft+process:bolt
e2e-modules: build ## the same over the combinations of modules, built in and as processes
	@for c in $(E2EFULL); do \
		echo "== all: $$c"; ZKCORE_TEST_CONSENSUS=$${c%+*} ZKCORE_TEST_STORAGE=$${c#*+} go test -count=1 -timeout 15m ./test/e2e -skip '$(E2EOWN)' || exit 1; \
	done
	@for c in $(E2EREST); do \
		echo "== short: $$c"; ZKCORE_TEST_CONSENSUS=$${c%+*} ZKCORE_TEST_STORAGE=$${c#*+} go test -count=1 -timeout 5m ./test/e2e -run '$(E2ESHORT)' || exit 1; \
	done

sim: ## ensembles in virtual time, from seeds
	go test -count=1 -timeout 30m ./test/sim/...

planted: ## mistakes that the simulator must find, one at a time
	go test -count=1 -timeout 20m -tags simbug ./test/sim -run TestPlanted -v

FOR ?= 1h
soak: build ## the simulator and the nemesis, FOR=1h in all
	@scripts/soak.sh $(FOR)

NEMESISFLAGS ?=
NEMESISTIME ?= 15m
nemesis: setup ## real processes hurt in every way, and what their clients saw judged; NEMESISTIME=2h NEMESISFLAGS="-run TestSoak -nemesis.for=1h" goes on
	go test -count=1 -timeout 5m -p 1 ./test/nemesis/proxy ./test/nemesis/netns
	go test -v -count=1 -timeout $(NEMESISTIME) ./test/nemesis $(NEMESISFLAGS)
ifeq ($(NEMESISFLAGS),)
	ZKCORE_TEST_CONSENSUS=process:raft ZKCORE_TEST_STORAGE=process:bolt go test -v -count=1 -timeout $(NEMESISTIME) ./test/nemesis -run 'TestNemesis$$' -nemesis.runs=1 -nemesis.length=15s
endif

conformance: setup ## tables of requests and answers, on Apache's servers and on zkcore
	go test -count=1 -timeout 15m ./test/conformance

oracle: setup ## the same random requests to zkcore and to Apache's servers
	go test -count=1 -timeout 20m -v ./test/oracle/...

clients: build setup ## real clients against real processes
	go test -count=1 -timeout 20m -p 1 ./test/clients/...
	ZKCORE_TEST_CONSENSUS=raft go test -count=1 -timeout 10m ./test/clients -run 'Dies|KazooDying|TestC$$'

vuln: ## known vulnerabilities in what we depend on
	@for m in $(MODULES); do (cd $$m && go run $(GOVULNCHECK) ./...) || exit 1; done

FUZZTIME ?= 15s
FUZZROUND ?= 4s
fuzz: ## every fuzz target for FUZZTIME
	@scripts/fuzz.sh $(FUZZTIME)

fuzz-round: ## the same for a few seconds each
	@scripts/fuzz.sh $(FUZZROUND)

bench: build setup ## every choice of modules against the floor and Apache, as ratios
	build/zkbench compare --zkcore=build/zkcore --modules=all $(BENCHFLAGS)

dist: ## zkcore-VERSION.tar.gz in dist/
	@scripts/dist.sh "$(VERSION)"

generate: ## the code that is made of plugins/process/modulepb/module.proto
	cd plugins/process && GOWORK=off go run $(BUF) generate

tidy: ## go mod tidy for every module
	@scripts/tidy.sh

clean: ## remove what was built
	rm -rf build dist
