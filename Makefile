# `make help` lists the targets. What is longer than a line is a script in .ci/ or tests/bed/.

BED_NAME ?= slipway
TIER ?= b
PROFILE ?= release
export BED_NAME TIER PROFILE

# Not with the jobserver of make, whose pipes only make inherits.
CARGO := MAKEFLAGS= cargo

.DEFAULT_GOAL := help
.PHONY: help demo test code bed bed-down image install unit model soak story fuzz crashes lint format scripts chart clippy deny bed-test generate packages clean

help: ## What there is
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  %-10s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: packages ## The story of a release on a real Kubernetes, which stays up
	tests/bed/bed up
	.ci/install.sh
	examples/demo/run

# Cheapest first, so that a mistake is heard of early; and what needs processors beside what waits for clusters.
test: packages ## Everything: format, scripts, unit and model tests, lints, the chart, and the tests on a real Kubernetes
	@$(MAKE) --no-print-directory format
	@$(MAKE) --no-print-directory scripts
	@$(MAKE) --no-print-directory --jobs=2 --output-sync=target code bed-test

# Nice, since tests on a bed measure how long Slipway takes. What each says is shown in one piece.
code: # what is judged without a cluster
	@nice $(MAKE) --no-print-directory unit
	@nice $(MAKE) --no-print-directory model
	@nice $(MAKE) --no-print-directory fuzz
	@nice $(MAKE) --no-print-directory clippy
	@nice $(MAKE) --no-print-directory chart

bed: ## Start the bed, a real Kubernetes; TIER=a for the control plane alone, BED_NAME for another instance
	tests/bed/bed up

bed-down: ## End the bed
	tests/bed/bed down

image: ## Build the image and push it into the bed as registry.bed.test:5000/slipway/slipway:dev; PROFILE=dev is quicker
	.ci/image.sh

install: ## Install what is checked out here into the bed by Helm
	.ci/install.sh

# tests/cluster is not among them: `test = false` in Cargo.toml leaves it to bed-test.
unit: ## Unit tests, which need no cluster
	$(CARGO) test --locked

fuzz: ## A minute of inputs that nobody thought of, for what reads specs, secrets in them and images
	SLIPWAY_FUZZ_SECONDS=60 $(CARGO) test --locked --test fuzz -- --nocapture --test-threads=4
# Only this package is compiled for speed, without the rooms that act; in a profile of its own all dependencies would be.
FAST := test --locked --quiet --lib --features pure --config profile.dev.package.slipway.opt-level=3

model: ## Model tests: 100,000 sequences, every order in a small scope, and faults that must be found
	$(CARGO) $(FAST) -- plan::model

soak: ## 10,000,000 sequences and a larger scope, some hours; SLIPWAY_SEQUENCES and SLIPWAY_SEED say which
	$(CARGO) $(FAST) -- --ignored a_soak_breaks_no_invariant plan::model::everywhere

story: ## What happens in the sequence of SLIPWAY_SEED
	$(CARGO) $(FAST) -- --ignored --nocapture one_seed

bed-test: ## Tests on a real Kubernetes of their own
	+@PROFILE=dev BED_NAME=test .ci/bed-test.sh

crashes: ## The binary killed, and frozen beside another one, at each request by which it changes something
	+@PROFILE=dev BED_NAME=crashes .ci/bed-test.sh --ignored crashes::alone:: --test-threads=1

lint: format scripts clippy chart ## All that is judged without running it

format: # the formatting
	cargo fmt --check

clippy: # the lints of Cargo.toml
	$(CARGO) clippy --locked --all-targets -- -D warnings
	$(CARGO) clippy --locked --test cluster -- -D warnings

scripts: # every shell script
	@git grep -lE '^#!/(usr/bin/env bash|bin/bash|bin/sh)|^# shellcheck shell=' -- . ':!Makefile' | xargs shellcheck -x

# helm template runs on values that turn everything on, so that no branch of a template goes unread.
chart: # the chart, and whether its copies of the definitions are those of crds/
	@diff -r crds charts/slipway/crd-bases || { echo "run: make generate" >&2; exit 1; }
	@.ci/helm.sh lint --strict charts/slipway --set image.repository=registry.example.com/slipway
	@.ci/helm.sh template slipway charts/slipway --namespace slipway-system --values .ci/chart-values.yaml >/dev/null

deny: ## Licenses, sources and known faults of dependencies; needs cargo-deny and the network
	cargo deny check

generate: ## Files that follow from the code: crds/ and the chart's copies of it, docs/reference.md
	cargo run --quiet --locked -- crds --output crds
	rm -rf charts/slipway/crd-bases && cp -r crds charts/slipway/crd-bases
	cargo run --quiet --locked -- reference >docs/reference.md.new && mv docs/reference.md.new docs/reference.md

packages: # what building and checking need beyond Rust
	@.ci/packages.sh

clean: ## Remove what cargo made here; the bed's cache stays
	cargo clean
