# `make run` starts everything on this machine, `make test` checks everything.
# The times in the list are those of two cores; CI's log has them of every step.

STACK := target/debug/local-stack

.PHONY: help
help: ## Lists the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "make %-8s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

.PHONY: setup
setup: ## Builds and installs what is missing, into .local/ and target/ (6 min the first time, then seconds)
	@local/setup.sh

.PHONY: run
run: setup ## Starts the service on this machine until Ctrl-C (20 s after setup); ARGS="--name two", ARGS=--help
	@exec $(STACK) up $(ARGS)

.PHONY: demo
demo: setup ## Plays a day of users, to watch in a browser (6 min after setup); ARGS="--minutes 10"
	@exec $(STACK) demo $(ARGS)

.PHONY: token
token: ## Prints a token for a user (at once): USER=bob, ARGS="--expires-in 60"
	@$(if $(filter command line,$(origin USER)),,$(error name the user: make token USER=bob))$(STACK) token --user '$(USER)' $(ARGS)

.PHONY: check
check: ## Runs format, lints and the tests that need no running stack (2 min once built)
	@local/check.sh

.PHONY: test
test: ## Runs every check and every test (40 min the first time, 25 min later)
	@local/test.sh

.PHONY: simulate
simulate: ## Runs schedules with faults and checks the invariants (a minute for 300): SEEDS=1000, or one: SEED=7
	@cargo run --quiet --locked -p scaling-simulation -- $(if $(SEED),--seed $(SEED),--seeds $(or $(SEEDS),1000)) $(ARGS)

.PHONY: bench
bench: setup ## Prints measured figures of the service beside its goals (10 min after setup)
	@local/bench.sh

.PHONY: clean
clean: ## Removes everything that was built, installed or left by runs
	@rm -rf .local build target local/graphql/target .aws-sam
