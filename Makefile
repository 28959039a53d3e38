# make demo   see the whole project work on a synthetic set
# make test   run the tests
# make lint   check the code's form
# Each makes .venv and installs into it, unless a virtual environment is active: then that one is used as it is.

PYTHON ?= $(if $(VIRTUAL_ENV)$(CONDA_PREFIX),python,.venv/bin/python)
READY = $(if $(filter .venv/bin/python,$(PYTHON)),.venv/installed)

UCF = --feature-root demo/UCFClipFeatures --test-list demo/list/ucf_CLIP_rgbtest.csv --gt-path demo/list/gt_ucf.npy
STREET = --feature-root demo/street/features
LISTS = --train-list demo/street/list/own_train.csv --test-list demo/street/list/own_test.csv --gt-path demo/street/list/own_gt.npy
LONG = --feature-root demo/LongTermFeatures --test-list demo/list/lt_CLIP_test.csv --gt-path demo/list/gt_lt.npy

.PHONY: demo test lint

demo: $(READY)
	rm -rf demo
	$(PYTHON) demo.py --out demo
	$(PYTHON) ucf_train.py $(UCF) --train-list demo/list/ucf_CLIP_rgb.csv --batch-size 8 --lr 1e-4 --max-epoch 2 --eval-every 400 --out-dir demo/train
	$(PYTHON) ucf_test.py $(UCF) --model-path demo/train/best.pt --out-dir demo/test --report
	$(PYTHON) longterm_test.py $(LONG) --model-path demo/train/best.pt --out-dir demo/longterm
	$(PYTHON) demo.py --out demo/street --videos 32
	$(PYTHON) extract.py demo/street/videos --out demo/street/features --frames-per-snippet 2
	$(PYTHON) list/make_list.py own $(STREET) --annotations demo/street/annotations.txt --frames demo/street/features/frames.csv --class-folders --test-folder test --normal-label calm --out demo/street/list
	$(PYTHON) own_train.py $(STREET) $(LISTS) --normal-label calm --visual-width 1280 --visual-layers 1 --val-share 0.25 --batch-size 4 --lr 2e-4 --max-epoch 4 --smooth causal --smooth-width 2 --out-dir demo/street/train
	$(PYTHON) watch.py demo/street/videos/test --model-path demo/street/train/best.pt --out-dir demo/street/watch --report

# in their names' order: else files of few and long tests come last, and one core waits
test: $(READY)
	$(PYTHON) -m pytest -q -n auto --dist loadfile --no-loadscope-reorder

lint: $(READY)
	$(PYTHON) -m ruff check .
	$(PYTHON) -m ruff format --check .

.venv/installed: requirements.txt tests/requirements.txt $(wildcard requirements-*.txt)
	python3 -m venv .venv
	.venv/bin/python -m pip install --quiet -r requirements.txt -r tests/requirements.txt
	touch $@
