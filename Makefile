# One-line wrappers over the program, openclaw-pipeline. Nothing is decided here: what a target
# does, the command that it names does. `make help` lists the targets.
#
# `make` itself exits with 2 whatever fails. A script that needs the exit codes calls the program.

SHELL := /bin/sh
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

# Where `make install` puts the program.
PREFIX ?= $(HOME)/.local

# ------------------------------------------------------------------ the program

# The profile whose build takes the least time, because somebody waits for it.
built := $(or $(CARGO_TARGET_DIR),target)/quick/openclaw-pipeline

# The program that the targets call; built when it is older than its sources. An installed one
# serves as well: make PROGRAM=openclaw-pipeline …
PROGRAM = $(built)

# A blank in a path splits a list of make's unless it is escaped.
blank := $(subst ,, )
built_file := $(subst $(blank),\ ,$(built))
program_file := $(if $(filter file,$(origin PROGRAM)),$(built_file))

# Everything that the program is made from.
sources := Cargo.toml Cargo.lock docker-compose.yml $(wildcard k8s/*.yaml terraform/*.tf terraform/*/*.tf terraform/*/*.sh packaging/*) \
  $(shell find src assets migrations -type f 2>/dev/null)

# ------------------------------------------------------- what a command is given

# The variables that hold a secret. They reach the program by the environment, never as an
# argument, and a build or a test does not get them at all.
SECRETS := OPENCLAW_GATEWAY_TOKEN CLAUDE_CODE_OAUTH_TOKEN ANTHROPIC_API_KEY GEMINI_API_KEY \
  OPENAI_API_KEY GROQ_API_KEY XAI_API_KEY MISTRAL_API_KEY OPENROUTER_API_KEY \
  OPENCLAW_PIPELINE_API_TOKEN OPENCLAW_PIPELINE_EVENTS_TOKEN OPENCLAW_PIPELINE_DATABASE_URL \
  OPENCLAW_PIPELINE_WEBHOOK_SECRET OPENCLAW_PIPELINE_TUNNEL_TOKEN \
  OPENCLAW_PIPELINE_SERVER_AWS_SECRET_ACCESS_KEY

# make hands its command line to every child in these, secrets included.
unexport MAKEFLAGS MFLAGS MAKEOVERRIDES MAKELEVEL

# TOKEN= on the command line alone: a TOKEN in somebody's environment is meant for something else.
unexport TOKEN
ifeq ($(origin TOKEN),command line)
export OPENCLAW_GATEWAY_TOKEN := $(value TOKEN)
endif

# A NAME in the environment may be the machine's (WSL presets it), and is ignored when it is no
# valid name. One that was typed here is meant, and is refused when it is not valid: so it is
# handed on under the name that nothing presets.
ifeq ($(origin NAME),command line)
export name := $(value NAME)
endif

yes := $(if $(filter 1 true yes,$(YES)),--yes)
program = @"$(PROGRAM)"
without_secrets := env $(addprefix -u ,TOKEN $(SECRETS))
cargo := $(without_secrets) cargo

# ------------------------------------------------------------------ The project
##@ The project

.PHONY: help
help: ## List the targets
	@awk 'BEGIN { FS = ":.*## " } \
	  /^##@ / { printf "\n%s\n", substr($$0, 5) } \
	  /^[a-z][a-z0-9-]*:.*## / { printf "  %-20s %s\n", $$1, $$2 }' Makefile
	@printf '\n%s\n' 'NAME=x names the deployment (main), YES=1 answers questions, TOKEN=x is the gateway token.'

.PHONY: quick-start
quick-start: next := A gateway is fetched (about a minute), started and proven; then a link for your browser is printed.
quick-start: $(program_file) ## Build the program and launch a gateway on this machine
	$(program) launch

# One recipe, so that its lines keep their order with -j too. Two tests more at once than there are
# cores: many of them wait for a machine or a pod.
.PHONY: test
test: export RUST_TEST_THREADS ?= $(shell expr $$(nproc) + 2)
test: ## Set up the lab and run every test (the first time: most of an hour)
	@echo 'First the real parts that the tests run: gateways, images, a browser. Kept for the next time.'
	@$(without_secrets) tests/lab/setup all
	@$(cargo) build --locked --bins --example standin-gateway
	@$(cargo) test --locked

.PHONY: bench
bench: ## Measure the figures of docs/benchmarks.md (BENCH=build: that part alone)
	@$(without_secrets) tests/lab/setup all
	@$(cargo) build --release --locked --example standin-gateway
	@$(cargo) bench --locked --bench figures -- $(BENCH)

.PHONY: lint
lint: ## Check the format and the lints
	@$(cargo) fmt --check
	@$(cargo) clippy --all-targets --locked -- -D warnings

.PHONY: build
build: ## Build the release
	@$(cargo) build --release --locked

# Of this machine's architecture.
host = $(shell rustc -vV | sed -n 's/^host: //p')
static = $(or $(CARGO_TARGET_DIR),target)/$(host)/release/openclaw-pipeline

.PHONY: build-static
build-static: ## Build the release that stands alone, for other machines; print its path
	@RUSTFLAGS='-C target-feature=+crt-static' $(cargo) build --release --locked --bins --target "$(host)"
	@echo "$(static)"

.PHONY: install
install: build ## Install the release as PREFIX/bin/openclaw-pipeline (PREFIX is ~/.local)
	@install -D -m 755 "$(or $(CARGO_TARGET_DIR),target)/release/openclaw-pipeline" "$(PREFIX)/bin/openclaw-pipeline"

# --------------------------------------------------------------- Docker (local)
##@ Docker (local)

.PHONY: quick-docker
quick-docker: next := A .env is made if there is none; then the gateway is launched with Docker and proven.
quick-docker: $(program_file) ## Make .env, launch with Docker, wait until it works, print a link
	$(program) env init
	$(program) launch --target docker

.PHONY: setup-docker-env
setup-docker-env: $(program_file) ## Make .env; one that is there is kept
	$(program) env init

.PHONY: reset-env
reset-env: $(program_file) ## Make .env anew; the old one becomes .env.old
	$(program) env reset $(yes)

.PHONY: clone-config
clone-config: $(program_file) ## Make .env from ./openclaw.json; the old one becomes .env.old
	$(program) env clone $(yes)

.PHONY: sync-docker-config
sync-docker-config: $(program_file) ## Put ./openclaw.json into the gateway, managed settings kept
	$(program) config sync

.PHONY: install-docker
install-docker: $(program_file) ## Launch with Docker and print the bare address
	$(program) launch --target docker --no-link

.PHONY: onboard-docker
onboard-docker: $(program_file) ## Run OpenClaw's own onboarding in the gateway's place
	$(program) openclaw -- onboard

.PHONY: update-docker
update-docker: $(program_file) ## Update to the newest image: backup first, back again if it fails
	$(program) update

.PHONY: logs-docker
logs-docker: $(program_file) ## Follow the gateway's log
	$(program) logs --follow

.PHONY: docker-shell
docker-shell: $(program_file) ## Open a shell where the gateway runs
	$(program) shell

.PHONY: docker-build
docker-build: $(program_file) ## Build a gateway image from npm, where none can be pulled
	$(program) image build

.PHONY: test-docker
test-docker: $(program_file) ## Prove the gateway once more, by the way that its user takes
	$(program) check gateway

.PHONY: verify-auth
verify-auth: $(program_file) ## Check that the provider keys arrive in the gateway
	$(program) check auth

.PHONY: check-model
check-model: $(program_file) ## Show the default model, and whether the gateway can use it
	$(program) check model

.PHONY: docker-clean
docker-clean: $(program_file) ## Remove the deployment: container, volumes and keys; backups stay
	$(program) destroy $(yes)

.PHONY: clean
clean: $(program_file) ## Start afresh: remove the deployment; .env becomes .env.old
	$(program) destroy --if-exists $(yes)
	$(program) env remove

.PHONY: start
start: $(program_file) ## Launch with Docker and the .env that is there, and print a link
	$(program) launch --target docker

.PHONY: open
open: $(program_file) ## Print a link that lets your browser in
	$(program) open

.PHONY: approve
approve: $(program_file) ## Let the browsers that wait in
	$(program) approve

# ------------------------------------------------------------------------ EC2
##@ EC2

.PHONY: ec2-full-setup
ec2-full-setup: next := A machine is made on EC2, a gateway launched there and proven; then a link is printed.
ec2-full-setup: $(program_file) ## Make a machine on EC2, launch a gateway there, print a link
	$(program) --on ec2 launch --target ec2

.PHONY: quick-ec2
quick-ec2: $(program_file) ## Make .env, then the same
	$(program) env init
	$(program) --on ec2 launch --target ec2

.PHONY: deploy-ec2
deploy-ec2: $(program_file) ## Bring machine and gateway to what the settings say now
	$(program) --on ec2 deploy

.PHONY: ec2-create-key
ec2-create-key: $(program_file) ## Make the SSH key; the launch then uses it
	$(program) --on ec2 infra create-key --target ec2

.PHONY: ec2-delete-key
ec2-delete-key: $(program_file) ## Remove the SSH key, where there is no machine
	$(program) --on ec2 infra delete-key --target ec2

.PHONY: ec2-config
ec2-config: $(program_file) ## Write terraform.tfvars and print where; yours is kept
	$(program) --on ec2 infra config --target ec2

.PHONY: ec2-init
ec2-init: $(program_file) ## Have Terraform get the AWS provider
	$(program) --on ec2 infra init --target ec2

.PHONY: ec2-plan
ec2-plan: $(program_file) ## Show what would be made or changed, and what it costs
	$(program) --on ec2 plan --target ec2

.PHONY: ec2-setup
ec2-setup: $(program_file) ## Launch what is not there, deploy what is
	$(program) --on ec2 infra apply --target ec2

.PHONY: ec2-destroy
ec2-destroy: $(program_file) ## Remove machine, gateway and data; backups stay
	$(program) --on ec2 destroy $(yes)

.PHONY: ec2-logs
ec2-logs: $(program_file) ## Follow the gateway's log
	$(program) --on ec2 logs --follow

.PHONY: ec2-shell
ec2-shell: $(program_file) ## Open a shell on the machine, by SSH
	$(program) --on ec2 shell --host

.PHONY: ec2-tunnel
ec2-tunnel: $(program_file) ## Forward a port of this machine to the gateway, by SSH
	$(program) --on ec2 tunnel

.PHONY: ec2-url
ec2-url: $(program_file) ## Print a link that lets your browser in
	$(program) --on ec2 url

.PHONY: ec2-restart
ec2-restart: $(program_file) ## Stop, start and prove the gateway
	$(program) --on ec2 restart

.PHONY: ec2-approve
ec2-approve: $(program_file) ## Let the browsers that wait in
	$(program) --on ec2 approve

.PHONY: ec2-cloudflare-tunnel
ec2-cloudflare-tunnel: $(program_file) ## Put a Cloudflare tunnel with HTTPS in front of the gateway
	$(program) --on ec2 expose tunnel

.PHONY: ec2-cloudflare-stop
ec2-cloudflare-stop: $(program_file) ## Take the tunnel away: plain HTTP again
	$(program) --on ec2 expose http

# ------------------------------------------------------------------ Lightsail
##@ Lightsail

.PHONY: ls-full-setup
ls-full-setup: next := A machine is made on Lightsail, a gateway launched there and proven; then a link is printed.
ls-full-setup: $(program_file) ## Make a machine on Lightsail, launch a gateway there, print a link
	$(program) --on lightsail launch --target lightsail

.PHONY: quick-ls
quick-ls: $(program_file) ## Make .env, then the same
	$(program) env init
	$(program) --on lightsail launch --target lightsail

.PHONY: deploy-ls
deploy-ls: $(program_file) ## Bring machine and gateway to what the settings say now
	$(program) --on lightsail deploy

.PHONY: ls-create-key
ls-create-key: $(program_file) ## Make the SSH key; the launch then uses it
	$(program) --on lightsail infra create-key --target lightsail

.PHONY: ls-delete-key
ls-delete-key: $(program_file) ## Remove the SSH key, where there is no machine
	$(program) --on lightsail infra delete-key --target lightsail

.PHONY: ls-config
ls-config: $(program_file) ## Write terraform.tfvars and print where; yours is kept
	$(program) --on lightsail infra config --target lightsail

.PHONY: ls-init
ls-init: $(program_file) ## Have Terraform get the AWS provider
	$(program) --on lightsail infra init --target lightsail

.PHONY: ls-plan
ls-plan: $(program_file) ## Show what would be made or changed, and what it costs
	$(program) --on lightsail plan --target lightsail

.PHONY: ls-setup
ls-setup: $(program_file) ## Launch what is not there, deploy what is
	$(program) --on lightsail infra apply --target lightsail

.PHONY: ls-destroy
ls-destroy: $(program_file) ## Remove machine, gateway and data; backups stay
	$(program) --on lightsail destroy $(yes)

.PHONY: ls-logs
ls-logs: $(program_file) ## Follow the gateway's log
	$(program) --on lightsail logs --follow

.PHONY: ls-shell
ls-shell: $(program_file) ## Open a shell on the machine, by SSH
	$(program) --on lightsail shell --host

.PHONY: ls-tunnel
ls-tunnel: $(program_file) ## Forward a port of this machine to the gateway, by SSH
	$(program) --on lightsail tunnel

.PHONY: ls-url
ls-url: $(program_file) ## Print a link that lets your browser in
	$(program) --on lightsail url

.PHONY: ls-restart
ls-restart: $(program_file) ## Stop, start and prove the gateway
	$(program) --on lightsail restart

.PHONY: ls-approve
ls-approve: $(program_file) ## Let the browsers that wait in
	$(program) --on lightsail approve

.PHONY: ls-cloudflare-tunnel
ls-cloudflare-tunnel: $(program_file) ## Put a Cloudflare tunnel with HTTPS in front of the gateway
	$(program) --on lightsail expose tunnel

.PHONY: ls-cloudflare-stop
ls-cloudflare-stop: $(program_file) ## Take the tunnel away: plain HTTP again
	$(program) --on lightsail expose http

# ------------------------------------------------------------------------ EKS
##@ EKS

.PHONY: quick-deploy
quick-deploy: next := A cluster is made on EKS (a quarter of an hour), unless it is there; then a gateway is launched on it and proven, and a link printed.
quick-deploy: $(program_file) ## Make .env, the cluster and a gateway on it, print a link
	$(program) env init
	$(program) cluster apply --for-launch
	$(program) --on eks launch --target eks

.PHONY: deploy-init
deploy-init: $(program_file) ## Have Terraform get the AWS provider
	$(program) cluster init

.PHONY: deploy-plan
deploy-plan: $(program_file) ## Show what would be made or changed of the cluster
	$(program) cluster plan

.PHONY: deploy-apply
deploy-apply: $(program_file) ## Make the cluster, or bring it to what its terraform.tfvars says
	$(program) cluster apply

.PHONY: deploy-destroy
deploy-destroy: $(program_file) ## Remove the cluster, once no gateway is on it
	$(program) cluster destroy $(yes) $(if $(filter 1 true yes,$(VOLUMES)),--volumes)

.PHONY: k8s-apply
k8s-apply: $(program_file) ## Launch what is not there, bring what is to what the settings say
	$(program) --on eks infra apply --target eks

.PHONY: k8s-status
k8s-status: $(program_file) ## Show the gateway and how it got there
	$(program) --on eks status

.PHONY: k8s-logs
k8s-logs: $(program_file) ## Follow the gateway's log
	$(program) --on eks logs --follow

.PHONY: k8s-shell
k8s-shell: $(program_file) ## Open a shell in the gateway's pod
	$(program) --on eks shell

.PHONY: k8s-secret
k8s-secret: $(program_file) ## Give the gateway the keys that the settings name now
	$(program) --on eks deploy

.PHONY: k8s-url
k8s-url: $(program_file) ## Print a link that lets your browser in
	$(program) --on eks url

# ------------------------------------------------------------- Pipeline server
##@ Pipeline server

# What goes to a machine of its own has to stand alone. Where nobody named such a program, and the
# one here is not installed from somewhere, it is built.
given := $(OPENCLAW_PIPELINE_SERVER_BINARY)$(shell grep -s '^\(export \)\{0,1\}OPENCLAW_PIPELINE_SERVER_BINARY=.' .env)
shipped := $(if $(given),,$(if $(program_file),build-static))
shipping := server-full-setup server-deploy server-ls-full-setup server-ls-deploy
$(shipping): $(shipped)
ifneq ($(shipped),)
$(shipping): export OPENCLAW_PIPELINE_SERVER_BINARY = $(static)
endif

.PHONY: server-full-setup
server-full-setup: next := A machine is made on EC2, the server brought there and proven; then its address and token are printed.
server-full-setup: $(program_file) ## Make a machine on EC2, bring the server there, print address and token
	$(program) --on ec2 server full-setup

.PHONY: server-setup
server-setup: $(program_file) ## Make the machine alone
	$(program) --on ec2 server setup

.PHONY: server-deploy
server-deploy: $(program_file) ## Bring program and settings there; what runs goes on
	$(program) --on ec2 server deploy

.PHONY: server-logs
server-logs: $(program_file) ## Follow the server's log
	$(program) --on ec2 server logs --follow

.PHONY: server-url
server-url: $(program_file) ## Print the address of the API and the console
	$(program) --on ec2 server url

.PHONY: server-destroy
server-destroy: $(program_file) ## Remove the machine with everything on it
	$(program) --on ec2 server destroy $(yes)

.PHONY: server-ls-full-setup
server-ls-full-setup: next := A machine is made on Lightsail, the server brought there and proven; then its address and token are printed.
server-ls-full-setup: $(program_file) ## Make a machine on Lightsail, bring the server there, print address and token
	$(program) --on lightsail server full-setup

.PHONY: server-ls-setup
server-ls-setup: $(program_file) ## Make the machine alone (Lightsail)
	$(program) --on lightsail server setup

.PHONY: server-ls-deploy
server-ls-deploy: $(program_file) ## Bring program and settings there; what runs goes on (Lightsail)
	$(program) --on lightsail server deploy

.PHONY: server-ls-logs
server-ls-logs: $(program_file) ## Follow the server's log (Lightsail)
	$(program) --on lightsail server logs --follow

.PHONY: server-ls-url
server-ls-url: $(program_file) ## Print the address of the API and the console (Lightsail)
	$(program) --on lightsail server url

.PHONY: server-ls-destroy
server-ls-destroy: $(program_file) ## Remove the machine with everything on it (Lightsail)
	$(program) --on lightsail server destroy $(yes)

# ---------------------------------------------------------------------- the build

# What builds inherit from the target that asked for them.
next ?= What you asked for.

$(built_file): $(sources)
	@command -v cargo >/dev/null || { echo 'cargo is missing. Install Rust 1.90 or newer: https://rustup.rs' >&2; exit 5; }
	@echo 'Building openclaw-pipeline: 1 to 5 minutes the first time, on two cores.'
	@echo 'What comes next: $(next)'
	@$(cargo) build --profile quick --locked --bins
	@touch -c "$@"
