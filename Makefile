# One command for each thing; HACKING.md tells more. `make up` and `make test` need root (or sudo).

VENV := .venv
BIN := $(VENV)/bin
# Another distribution than this machine's for the hosts: bookworm, trixie or noble; MIRROR where that comes from.
SUITE ?=
MIRROR ?=
OF_SUITE := $(if $(SUITE),--suite=$(SUITE)) $(if $(MIRROR),--mirror=$(MIRROR))
BUNDLE := dist/bundle$(if $(SUITE),-$(SUITE))
SUDO := $(shell [ "$$(id -u)" = 0 ] || echo sudo)
export PYTHONDONTWRITEBYTECODE := 1

.PHONY: help venv up down test test-fast unit lint generate bench bench-ingress bench-services pin bundle lint-collection lint-ansible test-hosts test-control test-vm test-matrix

help:
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' Makefile | expand -t 12

$(VENV)/.made: pyproject.toml constraints.txt tools/venv.sh tools/packages.sh
	@tools/packages.sh
	@echo "Installing pinned dependencies into $(VENV)"
	@tools/venv.sh $(VENV)
	@touch $@

venv: $(VENV)/.made ## system packages and .venv with the pinned dependencies

up: venv ## a real mesh on this machine, and examples/guestbook on it
	@tools/packages.sh
	@$(SUDO) $(BIN)/mesh up
	@$(SUDO) examples/guestbook/image.sh > /dev/null
	@$(SUDO) $(BIN)/python tools/guestbook.py

down: venv ## stop it; `.venv/bin/mesh down --purge` removes it
	@$(SUDO) $(BIN)/mesh down

lint: venv ## ruff, mypy, import contracts, generated code, the wire as it was released, docs/cli.md and docs/compatibility.md are current
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/python tools/generate.py --check
	$(BIN)/python tools/wire.py --check
	$(BIN)/python tools/cli_docs.py --check
	$(BIN)/python tools/compatibility.py --check

test: venv ## everything that must hold
	@tools/packages.sh
	@tools/unpack.sh prometheus promtool $(VENV)/prometheus
	@tools/unpack.sh docker-registry docker-registry $(VENV)/registry
	@tools/unpack.sh etcd-server etcd $(VENV)/etcd
	@$(MAKE) --no-print-directory lint lint-collection
	$(SUDO) env PYTHONDONTWRITEBYTECODE=1 MESH_KILLS="$(MESH_KILLS)" $(BIN)/python -m pytest

test-fast: venv ## without what needs root and Podman
	$(BIN)/python -m pytest -m "not host and not e2e"

unit: venv ## the pure layer only
	$(BIN)/python -m pytest tests/unit

generate: venv ## mesh/v1 and mesh/etcd from proto/
	PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/python tools/generate.py

bench: venv ## figures against `podman kube play`, in one run
	@tools/packages.sh netavark catatonit iptables
	@$(SUDO) $(BIN)/mesh up > /dev/null
	$(SUDO) $(BIN)/python benchmarks/pods.py
	$(SUDO) $(BIN)/python benchmarks/idle.py

bench-ingress: venv ## requests through Ingress beside an HAProxy configuration written by hand
	tools/packages.sh wrk haproxy
	$(SUDO) $(BIN)/python benchmarks/ingress.py

bench-services: venv ## the Service path beside HAProxy, nginx and the kernel's DNAT
	@tools/packages.sh wrk haproxy nginx-light libnginx-mod-stream nftables
	$(SUDO) $(BIN)/python benchmarks/services.py

bundle: venv ## dist/bundle: what hosts are provisioned from, with every Python package; SUITE=trixie: dist/bundle-trixie
	@$(if $(SUITE),tools/packages.sh mmdebstrap)
	@$(BIN)/python tools/bundle.py $(OF_SUITE) --debs $(BUNDLE)

lint-collection: ## the playbooks can be read, with every inventory; hosts are refused in words
	@tools/ansible.sh $(VENV)/ansible
	@mkdir -p build
	@. $(VENV)/ansible/activate && for inventory in one three many ha; do for book in site upgrade rotate_certs monitoring reset; do \
		ansible-playbook --syntax-check -i ansible/inventories/$$inventory/hosts.yml mesh.hosts.$$book > /dev/null || exit 1; \
	done; done
	@. $(VENV)/ansible/activate && export ANSIBLE_STDOUT_CALLBACK=ansible.builtin.minimal && \
		for inventory in hosts several; do \
			ansible-playbook -i ansible/tests/refusals/$$inventory.yml ansible/tests/refusals/main.yml > build/refusals.log 2>&1 || \
			{ cat build/refusals.log; exit 1; }; \
		done

lint-ansible: ## ansible-lint in its strictest profile
	@tools/ansible.sh $(VENV)/ansible-lint tools/ansible-lint.txt
	. $(VENV)/ansible-lint/activate && cd $(VENV)/ansible-lint/collections/ansible_collections/mesh/hosts && ansible-lint

test-hosts: bundle lint-ansible ## three hosts that systemd has booted, provisioned and reset by the playbooks; SUITE=trixie: of Debian 13
	@tools/packages.sh mmdebstrap openssh-client netavark iptables
	@tools/ansible.sh $(VENV)/ansible
	$(SUDO) $(BIN)/python -m tests.machines.provision $(OF_SUITE) $${MESH_LAB:-build/hosts} $(BUNDLE)

test-control: bundle ## the same with two meshd over three members of etcd, and with a cluster of etcd that was there
	@tools/packages.sh mmdebstrap openssh-client netavark iptables
	@tools/ansible.sh $(VENV)/ansible
	@tools/unpack.sh etcd-server etcd $(VENV)/etcd
	$(SUDO) $(BIN)/python -m tests.machines.several $(OF_SUITE) $${MESH_LAB:-build/hosts} $(BUNDLE)

test-vm: bundle ## a virtual machine of a distribution, its own kernel and all, provisioned, rebooted and reset; SUITE=trixie: of Debian 13
	@tools/packages.sh mmdebstrap openssh-client e2fsprogs qemu-system-x86
	@tools/ansible.sh $(VENV)/ansible
	$(SUDO) $(BIN)/python -m tests.machines.distribution $(OF_SUITE) $${MESH_LAB:-build/machine} $(BUNDLE)

test-matrix: bundle lint-collection ## what a user sees when parts of the mesh end; writes docs/reliability.md's table
	@tools/packages.sh mmdebstrap openssh-client netavark iptables e2fsprogs gcc libc6-dev
	$(SUDO) $(BIN)/python -m tests.matrix.run --write; namespaced=$$?; \
	$(SUDO) $(BIN)/python -m tests.machines.matrix $(OF_SUITE) $${MESH_LAB:-build/hosts} $(BUNDLE) --write && exit $$namespaced

pin: ## constraints.txt anew; needs pip-tools
	pip-compile --quiet --strip-extras --extra dev --build-deps-for editable --allow-unsafe --generate-hashes --no-emit-index-url \
		--no-emit-trusted-host --no-emit-find-links --no-header --no-annotate --output-file constraints.txt pyproject.toml
