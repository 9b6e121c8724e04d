# ovnkctl: every target with a comment behind "##" is listed by `make help`.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help

VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo dev)
PKG     := github.com/ovnkctl/ovnkctl
LDFLAGS := -s -w -X $(PKG)/internal/version.Version=$(VERSION)
GO      := CGO_ENABLED=0 go
GOBUILD := $(GO) build -trimpath -ldflags '$(LDFLAGS)'
CACHE   := $(or $(XDG_CACHE_HOME),$(HOME)/.cache)/ovnkctl
BINDIR  ?= /usr/local/bin
LINT    := go tool -modfile=tools/go.mod golangci-lint

.PHONY: help
help: ## Show this list
	@awk -F':.*## ' '/^[a-z0-9-]+:.*## /{printf "  %-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

.PHONY: build
build: ## Build bin/ovnkctl, its CNI shim, the kubectl plugin and the sandbox control
	$(GOBUILD) -o bin/ ./cmd/ovnkctl ./cmd/ovn-k8s-cni-overlay ./test/sandbox/cmd/sandbox
	ln -sf ovnkctl bin/kubectl-ovnk

.PHONY: install
install: build ## Install ovnkctl and the kubectl plugin into BINDIR (/usr/local/bin)
	install -D -m 0755 bin/ovnkctl $(DESTDIR)$(BINDIR)/ovnkctl
	ln -sf ovnkctl $(DESTDIR)$(BINDIR)/kubectl-ovnk
	install -D -m 0755 plugins/kubectl/kubectl_complete-ovnk $(DESTDIR)$(BINDIR)/kubectl_complete-ovnk

.PHONY: image
image: build ## Build the container image as an OCI archive, without Docker
	bin/sandbox image build

.PHONY: sandbox
sandbox: build ## Start a real three-node cluster on this machine with ovnkctl as its network
	bin/sandbox up $(SANDBOX_FLAGS)

.PHONY: sandbox-down
sandbox-down: ## Stop the sandbox and leave nothing behind
	$(GOBUILD) -o bin/ ./test/sandbox/cmd/sandbox
	bin/sandbox down

.PHONY: kind
kind: ## Build the image with Docker and install on a kind cluster (needs docker and kind)
	deploy/image/kind.sh

.PHONY: test
test: ovn-root lint cross-vet test-unit test-ovn test-kube test-e2e ## Everything: lint, unit, real OVN, real API server, and the sandbox end to end

.PHONY: test-unit
test-unit: ## Unit, golden and property tests; minutes at most, no OVN needed
	go vet ./...
	go test ./...

# Where the operator's tools run; the network itself runs on Linux alone.
PLATFORMS := linux/amd64 linux/arm64 darwin/amd64 darwin/arm64 windows/amd64

.PHONY: cross
cross: ## Build the command for the machines of operators into dist/: PLATFORMS
	@for p in $(PLATFORMS); do \
		os=$${p%/*} arch=$${p#*/}; suffix=; if [ $$os = windows ]; then suffix=.exe; fi; \
		echo "dist/ovnkctl-$$os-$$arch$$suffix"; \
		GOOS=$$os GOARCH=$$arch $(GOBUILD) -o dist/ovnkctl-$$os-$$arch$$suffix ./cmd/ovnkctl; \
	done

.PHONY: cross-vet
cross-vet: # whether it compiles elsewhere, without the minutes that linkers take
	GOOS=darwin GOARCH=arm64 $(GO) vet ./cmd/ovnkctl
	GOOS=windows GOARCH=amd64 $(GO) vet ./cmd/ovnkctl

.PHONY: ovn-root
ovn-root: # real OVN and OVS for the tests, cached outside the checkout
	$(GOBUILD) -o bin/ ./test/sandbox/cmd/sandbox
	bin/sandbox build ovn

.PHONY: test-ovn
test-ovn: ovn-root ## Tests against real ovsdb-server, northd, ovn-controller and vswitchd (root)
	go test -tags ovn -count=1 -p 1 ./internal/... ./test/ovn/... ./test/bundle/...

.PHONY: fuzz
fuzz: ## Every fuzz target for FUZZTIME (60s) each; one with NAME, e.g. NAME=FuzzLoad
	@grep -rn '^func Fuzz' --include='*_test.go' internal | sed 's|^\(.*\)/[^/]*:[0-9]*:func \([A-Za-z]*\).*|\1 \2|' | grep "$(NAME)" | sort -u | \
	while read -r dir name; do echo "== $$name in $$dir"; go test "./$$dir" -run '^$$' -fuzz "^$$name\$$" -fuzztime $${FUZZTIME:-60s} || exit 1; done

.PHONY: test-kube
test-kube: ## Tests of rights, policies and the installer against a real API server
	$(GOBUILD) -o bin/ ./test/sandbox/cmd/sandbox
	bin/sandbox build kube
	go test -tags kube -count=1 ./internal/install/...

.PHONY: test-e2e
test-e2e: build ## Tests in the sandbox: real API server, kubelets, pods and packets (root)
	test/e2e/run

.PHONY: conformance
conformance: build ## Kubernetes' network specs, suites of the policy API; writes docs/conformance (root, sandbox)
	test/conformance/run $(CONFORMANCE)

.PHONY: bench
bench: build ## Benchmarks beside their floor, as ratios; writes a report (root, sandbox)
	test/bench/run

.PHONY: bundle
bundle: build ## Record the bundle in test/bundle again (root, sandbox)
	test/bundle/record

.PHONY: lint
lint: ## Static checks: style limits, dependency direction, formatting
	$(LINT) run ./...
	@test -z "$$(gofmt -l $$(git ls-files '*.go'))" || { echo "gofmt these:"; gofmt -l $$(git ls-files '*.go'); exit 1; }

.PHONY: generate
generate: ## Make the generated code and documents again
	go generate ./...

.PHONY: verify
verify: generate ## Fail if generated code or go.mod is not current
	go mod tidy
	git diff --exit-code

.PHONY: clean
clean: ## Remove what was built here (not the cache in ~/.cache/ovnkctl)
	rm -rf bin dist
