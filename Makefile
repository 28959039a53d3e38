# make demo   see the whole project work on a synthetic set
# make test   run the tests
# make lint   check the code's form
# Each makes .venv and installs into it, unless a virtual environment is active: then that one is used as it is.

PYTHON ?= $(if $(VIRTUAL_ENV)$(CONDA_PREFIX),python,.venv/bin/python)
READY = $(if $(filter .venv/bin/python,$(PYTHON)),.venv/installed)

UCF = --feature-root demo/UCFClipFeatures --test-list demo/list/ucf_CLIP_rgbtest.csv --gt-path demo/list/gt_ucf.npy
LONG = --feature-root demo/LongTermFeatures --test-list demo/list/lt_CLIP_test.csv --gt-path demo/list/gt_lt.npy

.PHONY: demo test lint

demo: $(READY)
	rm -rf demo
	$(PYTHON) demo.py --out demo
	$(PYTHON) ucf_train.py $(UCF) --train-list demo/list/ucf_CLIP_rgb.csv --batch-size 8 --lr 1e-4 --max-epoch 2 --eval-every 400 --out-dir demo/train
	$(PYTHON) ucf_test.py $(UCF) --model-path demo/train/best.pt --out-dir demo/test --report
	$(PYTHON) longterm_test.py $(LONG) --model-path demo/train/best.pt --out-dir demo/longterm

test: $(READY)
	$(PYTHON) -m pytest -q

lint: $(READY)
	$(PYTHON) -m ruff check .
	$(PYTHON) -m ruff format --check .

.venv/installed: requirements.txt tests/requirements.txt requirements-tensorboard.txt requirements-video.txt
	python3 -m venv .venv
	.venv/bin/python -m pip install --quiet -r requirements.txt -r tests/requirements.txt
	touch $@
