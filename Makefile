# The same commands as dev.py, for those whose fingers say make. Words: make test ARGS="tests/test_cli.py -k call"
PYTHON ?= python3

.PHONY: help run test lint types docs slow drill browser oldest newest bench
help:  ## list the targets
	@$(PYTHON) dev.py --help
run test lint types docs slow drill browser oldest newest bench:
	@$(PYTHON) dev.py $@ $(ARGS)
