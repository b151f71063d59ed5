# `make run` starts everything on this machine, `make test` checks everything.

STACK := target/debug/local-stack

.PHONY: help
help: ## Lists what there is
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "make %-8s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

.PHONY: setup
setup: ## Builds and installs what is missing, into .local/ and target/
	@local/setup.sh

.PHONY: run
run: setup ## Starts the service on this machine until Ctrl-C; ARGS="--name two" and others: ARGS=--help
	@exec $(STACK) up $(ARGS)

.PHONY: demo
demo: setup ## Plays a day of users in six minutes, to be watched in a browser; ARGS="--minutes 10"
	@exec $(STACK) demo $(ARGS)

.PHONY: token
token: ## Prints a token for USER=name; ARGS="--expires-in 60"
	@$(if $(filter command line,$(origin USER)),,$(error say whose: make token USER=bob))$(STACK) token --user '$(USER)' $(ARGS)

.PHONY: test
test: ## Runs every check and every test
	@local/test.sh

.PHONY: simulate
simulate: ## Runs schedules with faults and checks what always holds: SEEDS=1000, or one again: SEED=7
	@cargo run --quiet --locked -p scaling-simulation -- $(if $(SEED),--seed $(SEED),--seeds $(or $(SEEDS),1000)) $(ARGS)

.PHONY: bench
bench: setup ## Prints the figures that the service should reach
	@local/bench.sh

.PHONY: clean
clean: ## Removes everything that was built, installed or left by runs
	@rm -rf .local build target local/graphql/target .aws-sam
