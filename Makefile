# The commands of dev.py. Pass words on with ARGS: make test ARGS="tests/cli -k call"
PYTHON ?= python3

.PHONY: help run test lint types docs slow drill browser oldest newest bench changelog
help:  ## list the targets
	@$(PYTHON) dev.py --help
run test lint types docs slow drill browser oldest newest bench changelog:
	@$(PYTHON) dev.py $@ $(ARGS)
