# One command for each thing a new user wants; every target sets up what it needs.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.PHONY: run test coverage demo clean docs man sessions sbom bench-itl bench-tvs bench-tftp compile-tftp uncompile-tftp tls-audit fuzz

run: $(VENV)/.run
	@$(BIN)/python -m lab.first_run

demo: $(VENV)/.run
	@$(BIN)/trustlab demo

test: $(VENV)/.test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/pytest --numprocesses 4 --dist loadfile

# The same tests with branch coverage, in every process they start: it takes longer.
coverage: $(VENV)/.test
	$(BIN)/coverage erase
	$(BIN)/coverage run -m pytest --numprocesses 4 --dist loadfile
	@$(BIN)/coverage combine --quiet
	@$(BIN)/coverage report

$(VENV)/bin/python:
	$(PYTHON) -m venv $(VENV)

$(VENV)/.run: requirements/run.txt pyproject.toml | $(VENV)/bin/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/run.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $@

$(VENV)/.test: requirements/test.txt $(VENV)/.run
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/test.txt
	@touch $@

clean:
	rm -rf $(VENV) dist build

# A tool's own environment: some pin other versions of what we use.
build/%/.ready: requirements/%.txt
	$(PYTHON) -m venv build/$*
	build/$*/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes -r $<
	@touch $@

# The documents as build/html. Every warning, a dead link too, is an error.
docs: build/docs/.ready
	build/docs/bin/sphinx-build -W --keep-going -q -b html docs build/html

# The man pages in docs/man, from the command line's own definition.
man: $(VENV)/.run
	$(BIN)/python docs/manpages.py

# Runs every terminal session of the documents and writes what it printed below its commands.
sessions: $(VENV)/.run
	$(BIN)/python docs/sessions.py --write

# What a release consists of, as CycloneDX.
sbom: requirements/run.txt build/sbom/.ready
	build/sbom/bin/cyclonedx-py requirements --pyproject pyproject.toml --output-reproducible --output-file build/trustlab.cdx.json requirements/run.txt

bench-itl: $(VENV)/.test
	@$(BIN)/python -m tests.bench.itl_lists

fuzz: $(VENV)/.test
	@$(BIN)/python -m tests.fuzz.fuzz_lists --seconds $(or $(SECONDS),60)

bench-tvs: $(VENV)/.test
	@$(BIN)/python -m tests.bench.tvs

# sslyze and tlsfuzzer against the modern profile. TLSFUZZER names a checkout of tlsfuzzer, which is on
# no package index; without it its part reads "not run".
tls-audit: $(VENV)/.test build/sslyze/.ready build/tlsfuzzer/.ready
	@$(BIN)/python -m tests.bench.tvs_audit build/sslyze/bin/python build/tlsfuzzer/bin/python

# The TFTP service beside dnsmasq, atftpd, tftpd-hpa and tftpy; TRUSTLAB_BENCH names the folder of the
# load generator. RUNS interleaved runs each.
bench-tftp: $(VENV)/.test
	@$(BIN)/python -m tests.bench.tftp_beside $(RUNS)

# The transfers as machine code, from the same typed source (pyproject.toml says which rooms; mypyc,
# needs a C compiler).
compile-tftp: requirements/compile.txt $(VENV)/.test
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/compile.txt
	HATCH_BUILD_HOOK_ENABLE_MYPYC=1 $(BIN)/python -m pip install --quiet --disable-pip-version-check \
		--no-deps --no-build-isolation --editable .

uncompile-tftp:
	@rm -f *__mypyc*.so tftp/*.so
