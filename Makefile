# Works on a bare Debian 12 with Rust; `make help` says what there is.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.PHONY: help demo test matrix bench simulate real soak fuzz lint ci build install

PREFIX ?= /usr/local
BINARY := target/release/haproxy-autoscale
# The tests of what differs from one HAProxy to another.
DRIVES_HAPROXY := --test runtime_api --test executor --test matrix --test spares --test fleet --test lasting --test sticky --test old_workers
# Where Debian has haproxy and rsyslogd; not every user's PATH goes there.
export PATH := $(PATH):/usr/sbin:/sbin

help: ## this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "make %-8s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: ## a real HAProxy, small servers and a load, in one terminal, in a minute
	@.ci/need cc:build-essential haproxy:haproxy
	@cargo build --locked --release
	@$(BINARY) demo

test: ## every test, on a real HAProxy, rsyslog and logrotate; installs them if they are missing
	@.ci/need cc:build-essential haproxy:haproxy rsyslogd:rsyslog logrotate:logrotate openssl:openssl \
	    systemd-analyze:systemd
	@mkdir -p target
	@status=0; CI=1 .ci/test 2>&1 | tee target/test.log || status=$$?; \
	    awk -f .ci/summary.awk target/test.log; exit $$status

# RELEASES="2.2 3.2" are all that are tried, if it is set.
matrix: ## the tests that need HAProxy, on each release from 2.2 to 3.4; gets those that are not installed
	@.ci/need cc:build-essential haproxy:haproxy openssl:openssl python3:python3 dpkg-deb:dpkg
	@cargo test --locked --no-run --quiet $(DRIVES_HAPROXY)
	@.ci/haproxies $(RELEASES) >target/haproxies.txt; status=0; \
	while read -r release program; do \
	    printf '\n== HAProxy %s\n' "$$release"; \
	    HAPROXY=$$program CI=1 .ci/test --quiet $(DRIVES_HAPROXY) </dev/null || status=1; \
	done <target/haproxies.txt; exit $$status

bench: ## report beside halog, each stage of a line, each source, the agent's own weight
	@.ci/need cc:build-essential haproxy:haproxy valgrind:valgrind
	@cargo bench --locked --quiet --benches --no-run
	@for bench in halog live agent parse window; do \
	    echo; echo "== $$bench: $$(sed -n 's#^//! ##p;q' benches/$$bench.rs)"; \
	    cargo bench --locked --quiet --bench $$bench; done

simulate: ## every scenario with every policy, into benches/simulate.md; takes minutes
	@.ci/need cc:build-essential
	@cargo build --locked --release
	@{ echo '# What each policy does with each scenario'; echo; \
	    echo '`make simulate`: `haproxy-autoscale simulate --all --seeds 3 --output markdown`'; echo; \
	    $(BINARY) simulate --all --seeds 3 --output markdown; } > target/simulate.md
	@mv target/simulate.md benches/simulate.md

real: ## the simulator beside a real HAProxy, into benches/real.md; takes 20 minutes
	@.ci/need cc:build-essential haproxy:haproxy
	@cargo bench --locked --quiet --bench real --no-run
	@{ echo '# What `simulate` says, and what happens on a real HAProxy'; echo; \
	    echo '`make real`: the same requests to small servers on loopback, and to simulated ones; what is compared'; \
	    echo 'is in `tests/support/rehearsal.rs`, the scenarios in `benches/real.rs`. Means of the runs.'; echo; \
	    cargo bench --locked --quiet --bench real; } > target/real.md
	@mv target/real.md benches/real.md

soak: ## ten minutes of load, reloads of HAProxy and a thousand moves: no request fails, nothing grows; SOAK_SECONDS=3600 for more
	@.ci/need cc:build-essential haproxy:haproxy
	@CI=1 SOAK_SECONDS=$${SOAK_SECONDS:-600} cargo test --locked --quiet --test rolling -- --nocapture

fuzz: ## random input to all that reads, FUZZ_SECONDS=8 for each target; a long run is the same with more
	@fuzz/run

lint: ## format, clippy, docs, licences
	@.ci/run format clippy docs deny

ci: ## every check there is, as the CI runs it
	@.ci/run

build: ## the program, optimised
	@.ci/need cc:build-essential
	@cargo build --locked --release
	@ls -l $(BINARY)

install: ## the program below PREFIX, /usr/local unless said
	@[[ -x $(BINARY) ]] || { echo "$(BINARY) is not there; make build first, as yourself" >&2; exit 1; }
	@install -D --mode 755 $(BINARY) $(DESTDIR)$(PREFIX)/bin/haproxy-autoscale
	@echo "installed $(DESTDIR)$(PREFIX)/bin/haproxy-autoscale"
