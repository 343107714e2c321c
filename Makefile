# The README's commands. Needs Python 3.11 or newer, make and the package registries.
PYTHON ?= python3
VENV   ?= .venv
TEST_JOBS ?= 2
BIN    := $(VENV)/bin
READY  := $(VENV)/.ready
PEERS  := $(VENV)/.peers
# On Linux without a screen, a virtual one.
NEEDS_SCREEN := $(filter Linux,$(shell uname))$(DISPLAY)$(WAYLAND_DISPLAY)
SCREEN := $(if $(filter Linux,$(NEEDS_SCREEN)),xvfb-run -a -s "-screen 0 1600x1000x24")

.PHONY: demo test test-slow lint run bench bench-gpu evaluate train-starter sample-data clean

demo: $(READY) ## segment the sample case through the real plugin
	$(BIN)/napari-liverseg demo -o out/demo

run: $(READY) ## open the viewer
	$(BIN)/napari-liverseg view

# Two processes, each with one thread: less waiting than one process with two.
test: lint ## everything that CI runs
	OMP_NUM_THREADS=1 NAPARI_STRICT_QT=1 $(BIN)/python -m pytest -n $(TEST_JOBS) --dist loadfile

test-slow: $(PEERS) ## minutes of work that `make test` leaves out
	NAPARI_STRICT_QT=1 $(BIN)/python -m pytest -m slow

lint: $(READY) ## style, types, import contracts, manifest, spelling
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/typos
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/npe2 validate napari_liverseg

bench: $(PEERS) ## speed, as ratios with a correctness gate
	$(BIN)/python -m benchmarks.memory
	$(BIN)/python -m benchmarks.rates
	$(SCREEN) $(BIN)/python -m benchmarks

bench-gpu: $(READY) ## speed and memory on an NVIDIA GPU, in less than 8 minutes
	$(BIN)/python -m benchmarks.gpu

# Figures are those of float32, whatever this processor multiplies faster.
evaluate: $(READY) ## the starter model on phantoms of unseen seeds; DATA=folder adds a public CT
	NAPARI_LIVERSEG_TUNING=off $(BIN)/python -m benchmarks.starter $(if $(DATA),--data $(DATA)) \
		--out benchmarks/results/starter.json

# One BLAS thread a process that draws: more only fight the network for the cores.
PUBLIC = $(if $(DATA),--set drawn.public=$(abspath $(DATA)))
train-starter: $(READY) ## train both networks of the starter model again; DATA=folder adds public cases
	$(BIN)/napari-liverseg phantoms -o out/starter/phantoms --count 10 --seed 60001
	OPENBLAS_NUM_THREADS=1 $(BIN)/napari-liverseg train liver3d --data out/starter/phantoms -o out/starter/finder $(PUBLIC)
	OPENBLAS_NUM_THREADS=1 $(BIN)/napari-liverseg train liver3d-detail --data out/starter/phantoms -o out/starter/detail --from out/starter/finder/model $(PUBLIC)
	$(BIN)/napari-liverseg models join out/starter/finder/model out/starter/detail/model --name starter -o out/starter/model

sample-data: $(READY) ## draw the sample case again
	$(BIN)/python sample_data/make_sample_case.py

$(READY): pyproject.toml constraints.txt .ci/system-libraries
	.ci/system-libraries
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	# torch first and by name, so that the pinned build is taken.
	$(BIN)/python -m pip install --quiet -c constraints.txt torch
	$(BIN)/python -m pip install --quiet -c constraints.txt -e '.[all,test]'
	# Without timm and torchvision, see pyproject.toml.
	$(BIN)/python -m pip install --quiet --no-deps 'dynamic-network-architectures>=0.4.4,<0.5'
	touch $@

# nnU-Net, which results are held against, without timm and torchvision.
$(PEERS): $(READY)
	$(BIN)/python -m pip install --quiet --no-deps nnunetv2==2.8.1
	$(BIN)/python -m pip install --quiet -c constraints.txt \
	  acvl-utils batchgenerators batchgeneratorsv2 blosc2 imagecodecs matplotlib \
	  nibabel pandas requests scikit-image scikit-learn seaborn tifffile tqdm
	touch $@

clean: ## remove the environment and outputs
	rm -rf $(VENV) out .pytest_cache .mypy_cache .ruff_cache .import_linter_cache
