# make            builds the commands into bin/
# make demo       three machines on one network, in namespaces, and a shell on one of them
# make test       everything that is tested; the last line says what was skipped, for want of what
# make bench fuzz sim soak race mutants install clean
#
# The parts of `make test` are targets too: tidy vet vuln unit fuzz sim machines demo-test.

COMMANDS = netman rx ncu
GO       = go
PREFIX   = /usr/local
SEEDS    = 500
FUZZTIME = 3s
VULNDB   = https://vuln.go.dev
SHELL    = /bin/bash
.SHELLFLAGS = -e -o pipefail -c

.PHONY: all test demo bench fuzz sim soak race mutants install clean tests tidy vet vuln unit machines demo-test bin/demo

all:
	CGO_ENABLED=0 $(GO) build -trimpath -o bin/ $(COMMANDS:%=./%)

bin/demo: all
	CGO_ENABLED=0 $(GO) build -trimpath -o $@ ./test/demo

demo: bin/demo
	@bin/demo

# Every test that skips adds a line "what: why" to the file named by $DNET_SKIPS (lab.Skip does it). The lines become the
# last line of the output. With CI set a skip is a failure instead.
test:
	@skips=$$(mktemp); chmod 666 $$skips; trap 'rm -f $$skips' EXIT; \
	DNET_SKIPS=$$skips $(MAKE) --no-print-directory tests; \
	if [ -s $$skips ]; then \
		echo "skipped here: $$(sort -u $$skips | paste -sd '|' | sed 's/|/; /g')"; \
	else \
		echo "skipped here: nothing"; \
	fi

tests: tidy vet vuln unit fuzz sim machines demo-test

tidy:
	@unformatted=$$(gofmt -l .); if [ -n "$$unformatted" ]; then echo "not as gofmt has it: $$unformatted"; exit 1; fi

vet:
	$(GO) vet ./...

# Known vulnerabilities in what the commands are made of. The database is on the network. Where it cannot be reached that is said in the
# last line, and is no failure, with CI set neither: nothing that could be installed would mend it.
vuln:
	@dir=$$(mktemp -d); trap 'rm -rf $$dir' EXIT; \
	$(GO) build -o $$dir/govulncheck golang.org/x/vuln/cmd/govulncheck; \
	status=0; timeout 5 $$dir/govulncheck -db $(VULNDB) -scan module >$$dir/out 2>&1 || status=$$?; \
	if [ $$status = 124 ] || grep -q '^govulncheck: fetching vulnerabilities' $$dir/out; then \
		echo "govulncheck: the vulnerability database cannot be reached" | tee -a $${DNET_SKIPS:-/dev/null}; \
	else \
		$$dir/govulncheck -db $(VULNDB) ./...; \
	fi

# Everything but what needs machines.
unit:
	$(GO) test -race $$($(GO) list ./... | grep -v '^dnet/test')

# Each fuzz target for a short time, one after another.
fuzz:
	@grep -rl --include='*_test.go' '^func Fuzz' . | sort | while read -r file; do \
		grep -o '^func Fuzz[A-Za-z0-9_]*' "$$file" | while read -r _ target; do \
			dir=$$(dirname "$$file"); echo "fuzz $$dir $$target"; \
			out=$$($(GO) test -run '^$$' -fuzz "^$$target\$$" -fuzztime $(FUZZTIME) "$$dir" 2>&1 </dev/null) || { \
				echo "$$out"; $(GO) test -run "^$$target\$$" "$$dir"; \
			}; \
		done; \
	done

# Random worlds; see netman/sim.
sim:
	$(GO) test -count 1 ./netman/sim -seeds $(SEEDS)

# The real commands, on machines made of namespaces.
machines: all
	$(GO) test -race -count 1 ./test/...

# The same with the race detector in the commands too, which makes them several times slower.
race:
	CGO_ENABLED=1 $(GO) build -race -o bin/race/ $(COMMANDS:%=./%)
	DNET_BIN=$(CURDIR)/bin/race $(GO) test -race -count 1 -timeout 40m ./test

# The demo ends by itself without a terminal. Root repeats it as a user who owns nothing.
demo-test: bin/demo
	bin/demo </dev/null
	@if [ "$$(id -u)" = 0 ]; then \
		dir=$$(mktemp -d); trap 'rm -rf $$dir' EXIT; \
		cp $(COMMANDS:%=bin/%) bin/demo $$dir; chmod 755 $$dir $$dir/*; cd $$dir; \
		echo "the demo again, as the user 65534"; \
		setpriv --reuid=65534 --regid=65534 --clear-groups --inh-caps=-all env HOME=/ $$dir/demo </dev/null; \
	fi

# dnet beside what it could be compared with, in one run: make bench BENCH='-n 3 -run stream'
bench: all
	CGO_ENABLED=0 $(GO) build -trimpath -o bin/ ./test/bench
	@bin/bench $(BENCH)

# Hours, if you like: make soak SEEDS=100000 FUZZTIME=10m
soak: SEEDS = 5000
soak: FUZZTIME = 60s
soak: all
	$(GO) test -count 1 -timeout 0 ./netman/sim -seeds $(SEEDS)
	$(MAKE) --no-print-directory fuzz FUZZTIME=$(FUZZTIME)
	DNET_SOAK=1 $(GO) test -count 1 -timeout 0 -run 'Hostile|Kill|Sleepers' ./test

# Would the tests notice? Deliberate bugs, one at a time, in a copy of the tree: make mutants MUTANTS='-run x25 -all'
mutants:
	$(GO) run ./test/mutants $(MUTANTS)

# What make has built before: root need not have Go.
install:
	@[ -x bin/netman ] || { echo "nothing is built yet: make, then make install as root"; exit 1; }
	install -d $(DESTDIR)$(PREFIX)/bin
	install -m 755 $(COMMANDS:%=bin/%) $(DESTDIR)$(PREFIX)/bin
	install -D -m 644 netman/netphys.h $(DESTDIR)$(PREFIX)/include/dnet/netphys.h
	install -D -m 644 netman/netphys.py $(DESTDIR)$(PREFIX)/share/dnet/netphys.py
	for page in */*.[1-8]; do \
		install -D -m 644 "$$page" "$(DESTDIR)$(PREFIX)/share/man/man$${page##*.}/$${page##*/}"; \
	done
	for tool in rx ncu; do \
		install -D -m 644 $$tool/$$tool.bash $(DESTDIR)$(PREFIX)/share/bash-completion/completions/$$tool; \
		install -D -m 644 $$tool/_$$tool $(DESTDIR)$(PREFIX)/share/zsh/site-functions/_$$tool; \
		install -D -m 644 $$tool/$$tool.fish $(DESTDIR)$(PREFIX)/share/fish/vendor_completions.d/$$tool.fish; \
	done

clean:
	rm -rf bin
