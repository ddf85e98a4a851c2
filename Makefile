# Every target sets up what it needs, on a fresh machine too; second runs skip what is done.
.PHONY: demo demo-arm setup test test-fast test-all test-research lint format lock pins check-packages bench gpu-check soak fuzz faults generate docs clean
PY := .venv/bin/python

demo:
	@scripts/setup.sh ros sim bags compact
	@$(PY) scripts/demo.py

demo-arm:
	@scripts/setup.sh ros sim arm web
	@$(PY) -m scripts.demo_arm $(ARGS)

# What the tests need: packages, and messages that are compiled; says how long each took.
setup:
	@scripts/setup.sh ros sim bags test scale models arm web browser clouds docs

# test-fast and the live tests; ARGS="test/spatial -q" is one plain pytest.
test: setup
	@scripts/test.sh $(ARGS)

# What needs no process, ROS graph, browser or model.
test-fast: setup
	@scripts/test.sh fast

# Sweeps and the tests of research/, too, in parts; what has passed on these files is not run again.
test-all: setup
	@scripts/setup.sh bench tools
	@scripts/test.sh all

test-research:
	@scripts/setup.sh ros sim bags test models
	@scripts/test.sh research

lint:
	@scripts/setup.sh ros sim bags test web
	@$(PY) -m ruff check .
	@$(PY) -m ruff format --check .
	@$(PY) -m mypy

format:
	@scripts/setup.sh test
	@$(PY) -m ruff check --fix .
	@$(PY) -m ruff format .

# All packages at their newest versions, with hashes; then set up and test anew.
lock:
	@scripts/setup.sh test tools
	@$(PY) -m scripts.lock

# Base images by digest and actions by commit; needs Docker and a network.
pins:
	@scripts/setup.sh test
	@$(PY) -m scripts.pin

# Known weaknesses and licences of what is installed; also a part of test-all.
check-packages:
	@scripts/setup.sh test tools
	@$(PY) -m pytest -m "" test/test_supply_chain.py

bench:
	@scripts/setup.sh ros sim bags bench
	@$(PY) -m benchmarks

# What models of real size cost on this machine's GPU, about ten minutes; nothing is downloaded but packages.
gpu-check:
	@scripts/setup.sh models
	@$(PY) -m benchmarks gpu_check $(ARGS)

soak:
	@scripts/setup.sh ros sim
	@$(PY) -m benchmarks.sentences --n 100000 --asked 4000
	@$(PY) -m benchmarks.replies --n 200000
	@$(PY) -m benchmarks.soak $(ARGS)

# Sentences found by coverage, half an hour; ARGS="--minutes 300 --seed 2" for longer.
fuzz:
	@scripts/setup.sh fuzz
	@$(PY) -m benchmarks.fuzzing $(ARGS)

# Every fault on the live nodes, as observed; about 15 minutes.
faults:
	@scripts/setup.sh ros sim bags test arm web
	@scripts/faults.sh

generate:
	@scripts/setup.sh test
	@$(PY) -m scripts.generate

# The documentation site, in out/site; broken links, missing anchors and pages without a place in the navigation fail.
docs:
	@scripts/setup.sh docs
	@rm -rf out/site
	@$(PY) -m sphinx -E -W --keep-going -q -d out/doctrees docs out/site
	@echo "out/site/index.html"

clean:
	rm -rf .venv out build install log *.egg-info
