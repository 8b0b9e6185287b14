# What there is to do with logmule. Needs Go, make, gcc (for the race detector) and git; nothing is installed.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.PHONY: help run build test race full fuzz torture torture-long soak bench lint cross docs ci clean

VERSION := $(shell git describe --tags --always --dirty 2>/dev/null || echo unknown)
GOBUILD := CGO_ENABLED=0 go build -trimpath -ldflags "-s -w -X main.release=$(VERSION)"
FUZZTIME ?= 10s
BENCHFLAGS ?=
SOAK ?= 1h
ROWS := $(CURDIR)/bin/reliability.jsonl
LABORATORY := ./integration/states ./integration/damage ./integration/torture

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

run: build ## build and run the quick start: made-up records through the disk queue to the screen
	@./bin/logmule run

build: ## the static binary, ./bin/logmule
	@$(GOBUILD) -o bin/logmule ./cmd/logmule

test: ## all tests in their short form, under 5 minutes on two cores
	go test -timeout 15m ./...
	cd integration/faultdisk && go test ./...

race: ## all tests under the race detector, the daemon too
	go test -race -timeout 60m ./...

full: ## the black-box tests at full size: gigabytes of backlog, every page of noise
	LOGMULE_FULL=1 go test -count=1 -timeout 60m -v ./integration

fuzz: ## every fuzzer for FUZZTIME (10s) each
	@.ci/fuzz $(FUZZTIME)

# What the laboratory finds goes into docs/reliability.md, also where it fails.
define laboratory
@mkdir -p bin && rm -f $(ROWS)
@failed=0; LOGMULE_RESULTS=$(ROWS) $(1) || failed=1; go run ./integration/reliability/page $(ROWS) docs/reliability.md && exit $$failed
endef

torture: ## the fault laboratory in ten minutes: power, disks, networks, load; wants root and /dev/fuse
	$(call laboratory,LOGMULE_TORTURE=short go test -count=1 -p 1 -parallel 8 -timeout 15m $(LABORATORY))

torture-long: ## the same for hours
	$(call laboratory,LOGMULE_TORTURE=long go test -count=1 -p 1 -parallel 8 -timeout 12h $(LABORATORY))

soak: ## all of it mixed for SOAK (1h): load that comes and goes, kills, faults, reloads
	$(call laboratory,LOGMULE_SOAK=$(SOAK) go test -count=1 -timeout 0 -run '^TestSoak$$' -v ./integration/torture)

bench: build ## speed beside the machine's own limits; BENCHFLAGS="-runs 5 -records 8000000 -backlog 20480"
	go run ./integration/bench -binary bin/logmule $(BENCHFLAGS)

lint: ## formatting, go vet, staticcheck
	@unformatted=$$(gofmt -l .); if [ -n "$$unformatted" ]; then echo "run gofmt -w on: $$unformatted"; exit 1; fi
	go vet ./...
	go tool staticcheck ./...
	@staticcheck=$$(go tool -n staticcheck); cd integration/faultdisk && set -x && go vet ./... && "$$staticcheck" ./...

cross: build ## the other platforms build, and the binary is static
	@for target in linux/arm64 linux/arm darwin/arm64 darwin/amd64; do \
	  echo "build $$target"; CGO_ENABLED=0 GOOS=$${target%/*} GOARCH=$${target#*/} go build -o /dev/null ./cmd/logmule; \
	done
	@if ldd bin/logmule >/dev/null 2>&1; then echo "bin/logmule is not static:"; ldd bin/logmule; exit 1; fi

docs: ## docs/configuration.md from the code that reads the keys; make test compares them
	go test -count=1 -run TestConfigurationReference ./forward -update

ci: lint cross full race fuzz bench ## everything, as CI runs it after make test

clean: ## remove what make made
	rm -rf bin .bench-*
