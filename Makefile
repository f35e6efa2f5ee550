# make serve: install what is missing and start.  make demo: the demos, without an account.
# make test: the tests, the real CLI included.     make check: style and types.
# make test-long: the tests that take minutes.     make coverage: of the parts that do no I/O.
# make test-pythons: the unit tests with the oldest Python that will do, and with the newest that was tried.
# make test-clients: what real client libraries do with the server; it installs them first.
# make bench: the figures of docs/performance.md and docs/agent-loop.md, in an hour.
# make chaos, make soak: those of docs/reliability.md, in five minutes and in an hour.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
CLIS := .cache/cli
# The newest CLI comes with claude-agent-sdk; these are the older ones that tests run against.
TEST_CLIS := $(foreach v,2.1.50 2.1.90 2.1.197,$(CLIS)/$(v)/.installed)
# Test files at a time: much of a test is waiting for a process.
JOBS ?= 3
# In the order that tests/conftest.py gives them.
PYTEST = $(BIN)/python -m pytest -n $(JOBS) --dist loadfile --no-loadscope-reorder --durations=15 \
  --durations-min=5
# Names of interpreters, or paths; those of pyenv are found by themselves. One that isn't there is left out.
OTHER_PYTHONS ?= $(foreach v,3.10 3.13,\
  $(lastword python$(v) $(sort $(wildcard $(HOME)/.pyenv/versions/$(v).*/bin/python))))
# What needs neither a CLI nor the demos.
UNIT_TESTS := $(addprefix tests/,configuration core dialects engine http stores telemetry toolbox test_private.py)
# Client libraries: their wishes for one another contradict, so each group has an environment of its own.
CLIENTS := .cache/clients
CLIENT_GROUPS := node $(basename $(notdir $(wildcard tests/clients/requirements/*.txt)))

PIP := $(BIN)/python -m pip install --disable-pip-version-check
NPM := npm install --no-audit --no-fund --loglevel=error

.PHONY: serve demo test test-long test-pythons test-clients coverage check bench chaos soak env-example clean npm

serve: $(VENV)/.installed
	@$(BIN)/python lab/find_cli.py --install $(BIN)/claude
	@PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/python claude_api.py $(ARGS)

demo: $(VENV)/.dev
	@$(BIN)/python -m lab.demo

test: npm $(VENV)/.dev $(TEST_CLIS)
	@$(PYTEST) --ignore=tests/clients -m "not long" $(ARGS)

test-long: npm $(VENV)/.dev $(TEST_CLIS)
	@$(PYTEST) --dist load --ignore=tests/clients -m "long and not alone" $(ARGS)
	@$(PYTEST) -n 0 --ignore=tests/clients -m alone $(ARGS) || [ $$? = 5 ]

test-pythons: $(VENV)/.dev
	@for python in $(OTHER_PYTHONS); do \
	  version=$$($$python -c 'import platform; print(platform.python_version())' 2> /dev/null) || \
	    { echo "$$python is not here, and is left out."; continue; }; \
	  echo "The unit tests with Python $$version ..."; \
	  $(BIN)/uv venv --quiet --clear --python "$$python" .cache/pythons/$$version && \
	  $(BIN)/uv pip install --quiet --python .cache/pythons/$$version -r requirements-dev.txt && \
	  .cache/pythons/$$version/bin/python -m pytest -n $(JOBS) --dist loadfile $(UNIT_TESTS) $(ARGS) || exit 1; \
	done

test-clients: npm $(VENV)/.dev $(CLIENT_GROUPS:%=$(CLIENTS)/%/.installed)
	@$(PYTEST) tests/clients $(ARGS)

coverage: $(VENV)/.dev
	@$(BIN)/coverage run -m pytest tests/configuration tests/dialects
	@$(BIN)/coverage report

check: $(VENV)/.dev
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy .

bench: npm $(VENV)/.dev $(CLIS)/2.1.197/.installed
	@$(BIN)/python -m lab.bench --claude-bin newest --claude-bin $(CLIS)/2.1.197/node_modules/.bin/claude $(ARGS)
	@$(BIN)/python -m lab.bench.agents --claude-bin newest \
	  --claude-bin $(CLIS)/2.1.197/node_modules/.bin/claude $(filter --quick,$(ARGS))

chaos: npm $(VENV)/.dev $(CLIS)/2.1.197/.installed
	@$(BIN)/python -m lab.chaos --claude-bin newest --claude-bin $(CLIS)/2.1.197/node_modules/.bin/claude $(ARGS)

soak: $(VENV)/.dev
	@$(BIN)/python -m lab.chaos.soak $(ARGS)

env-example: $(VENV)/.installed
	@$(BIN)/python -c "import config; print(config.env_example(), end='')" > .env.example

# Required first, before minutes of installing.
npm:
	@command -v npm > /dev/null || { \
	  echo "npm is needed, which installs claude CLIs and libraries for Node that the tests run." >&2; \
	  echo "It comes with Node.js (Debian, Ubuntu: apt install npm; macOS: brew install node)." >&2; exit 1; }

# What fails says why itself. The interpreter of an environment that is not whole must not stay: it is the target.
$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' || \
	  { echo "Python 3.10 or newer is needed; name one with: make PYTHON=/path/to/python3" >&2; exit 1; }
	@echo "Making the virtual environment $(VENV) ..."
	@rm -f $(VENV)/.installed $(VENV)/.dev
	@$(PYTHON) -m venv $(VENV) || { rm -f $@; \
	  echo "$(PYTHON) -m venv $(VENV) failed; the lines above say why." >&2; exit 1; }

$(VENV)/.installed: requirements.txt | $(VENV)/bin/python
	@echo "Installing what the server needs into $(VENV) ..."
	@$(PIP) -r requirements.txt
	@touch $@

$(VENV)/.dev: requirements.txt requirements-cli.txt requirements-dev.txt | $(VENV)/bin/python
	@echo "Installing what the tests and the demo need into $(VENV) ..."
	@$(PIP) -r requirements-dev.txt
	@touch $@ $(VENV)/.installed

$(CLIS)/%/.installed:
	@echo "Installing claude CLI $*, which the tests run ..."
	@mkdir -p $(CLIS)/$*
	@$(NPM) --prefix $(CLIS)/$* @anthropic-ai/claude-code@$*
	@touch $@

$(CLIENTS)/node/.installed: tests/clients/package.json
	@echo "Installing client libraries for Node ..."
	@mkdir -p $(@D)
	@cp $< $(@D)/package.json
	@$(NPM) --prefix $(@D)
	@touch $@

$(CLIENTS)/%/.installed: tests/clients/requirements/%.txt | $(VENV)/.dev
	@echo "Installing client libraries: $* ..."
	@$(BIN)/uv venv --quiet --clear --python $(BIN)/python $(@D)
	@$(BIN)/uv pip install --python $(@D)/bin/python -r $< \
	  $(patsubst %,--override %,$(wildcard tests/clients/overrides/$*.txt))
	@touch $@

clean:
	rm -rf $(VENV) .cache
