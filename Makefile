# Every target sets up what it needs, on a fresh machine too; second runs skip what is done.
.PHONY: demo demo-arm test lint format bench soak generate clean
PY := .venv/bin/python

demo:
	@scripts/setup.sh ros sim bags compact
	@$(PY) scripts/demo.py

demo-arm:
	@scripts/setup.sh ros sim arm web
	@$(PY) -m scripts.demo_arm $(ARGS)

test:
	@scripts/setup.sh ros sim bags test models arm web browser
	@scripts/test.sh $(ARGS)

lint:
	@scripts/setup.sh ros sim bags test web
	@$(PY) -m ruff check .
	@$(PY) -m ruff format --check .
	@$(PY) -m mypy

format:
	@scripts/setup.sh test
	@$(PY) -m ruff check --fix .
	@$(PY) -m ruff format .

bench:
	@scripts/setup.sh ros sim bags bench
	@$(PY) -m benchmarks

soak:
	@scripts/setup.sh ros sim
	@$(PY) -m benchmarks.sentences --n 100000
	@$(PY) -m benchmarks.replies --n 50000
	@$(PY) -m benchmarks.soak $(ARGS)

generate:
	@scripts/setup.sh
	@$(PY) -m scripts.generate

clean:
	rm -rf .venv out build install log *.egg-info
