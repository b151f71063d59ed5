# `make run` starts everything on this machine, `make check` is for while you work, and
# `make test` is what CI runs.

STACK := target/debug/local-stack

.PHONY: help
help: ## Lists the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "make %-9s %s\n", $$1, $$2}' $(MAKEFILE_LIST)
	@echo "The times are those of two cores."

.PHONY: setup
setup: ## Builds and installs what is missing, into .local/ and target/: 7 min the first time, then seconds
	@local/setup.sh

.PHONY: run
run: setup ## Sets up, and starts the service on this machine until Ctrl-C: 15 s; ARGS="--name two", ARGS=--help
	@exec $(STACK) up $(ARGS)

.PHONY: demo
demo: setup ## Sets up, and plays a day of users to watch in a browser: 6 min; ARGS="--minutes 10"
	@exec $(STACK) demo $(ARGS)

.PHONY: token
token: ## Prints a token for a user of the running service: USER=bob; ARGS="--expires-in 60"
	@$(if $(filter command line,$(origin USER)),,$(error name the user: make token USER=bob))$(STACK) token --user '$(USER)' $(ARGS)

.PHONY: check
check: ## Checks format and lints, and runs the tests that need no stack: 8 min the first time, then 1 to 2 min
	@local/check.sh

.PHONY: test
test: ## Sets up, and runs every check and every test: 40 min the first time, then 25 min
	@local/test.sh

.PHONY: simulate
simulate: ## Runs schedules with faults and checks the invariants: 1 min once built; SEEDS=1000, or one again: SEED=7
	@cargo run --quiet --locked -p scaling-simulation -- $(if $(SEED),--seed $(SEED),--seeds $(or $(SEEDS),1000)) $(ARGS)

.PHONY: bench
bench: setup ## Sets up, and prints what the service reaches beside its goals: 30 min
	@local/bench.sh

.PHONY: economics
economics: ## Plays weeks of arrivals, and prints what each policy costs and who waits; ARGS="--trace FILE", ARGS=--help
	@cargo run --quiet --locked --profile economics -p scaling-economics -- $(ARGS)

.PHONY: clean
clean: ## Removes everything that was built, installed or left by runs
	@rm -rf .local build target local/graphql/target .aws-sam
