# Valico. `make help` lists the targets.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

GO      ?= go
BIN     ?= bin
TOOL     = $(GO) tool -modfile=deploy/tools/$(1)/go.mod $(1)

export CGO_ENABLED ?= 0

.PHONY: help
help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

.PHONY: build
build: ## build both commands into bin/
	$(GO) build -trimpath -buildvcs=auto -ldflags='-s -w' -o $(BIN)/ ./cmd/valico ./cmd/valico-exec

.PHONY: demo
demo: build ## the main job end to end on embedded defaults, without root; Ctrl-C ends it
	$(BIN)/valico demo

.PHONY: deps
deps: ## install the packages that the integration tests need (root) or say which are missing
	deploy/lab/deps

.PHONY: test
test: deps ## every test: unit, contract, scripts, Rego, and integration on real daemons
	deploy/test

.PHONY: lint
lint: ## golangci-lint and regal, pinned under deploy/tools
	$(call TOOL,golangci-lint) run ./...
	$(call TOOL,golangci-lint) run --build-tags integration ./...
	$(call TOOL,regal) lint policy/rego

.PHONY: bench
bench: deps ## benchmarks; each prints its ratio to a bare part measured in the same run
	$(GO) test -tags integration -run '^$$' -bench . -benchtime 2s -timeout 30m ./...

FUZZTIME ?= 20s
.PHONY: fuzz
fuzz: ## every fuzz target for FUZZTIME (20s)
	@for pkg in $$($(GO) list ./...); do \
	  for f in $$($(GO) test -list '^Fuzz' $$pkg | grep '^Fuzz' || true); do \
	    echo "== $$pkg $$f"; $(GO) test -run '^$$' -fuzz "^$$f$$" -fuzztime $(FUZZTIME) -fuzzminimizetime 10x $$pkg; \
	  done; \
	done

.PHONY: generate
generate: ## write the generated files again
	$(GO) generate ./...

.PHONY: lab-up
lab-up: deps ## start a real Slurm cluster on loopback (root)
	deploy/lab/up

.PHONY: lab-down
lab-down: ## stop it
	deploy/lab/down
