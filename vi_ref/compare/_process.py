"""What the measurements share: which libraries are there, a process of its own for a task, what machine it was."""

import json
import os
import platform
import subprocess
import sys
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType
from typing import Any

#: The adapter of each library, and the modules it needs with what pip calls them.
LIBRARIES: dict[str, tuple[str, dict[str, str]]] = {
    "vi_ref": ("with_vi_ref", {}),
    "PyTorch": ("with_torch", {"torch": "torch"}),
    "JAX": ("with_jax", {"jax": "jax", "optax": "optax"}),
    "TFP": ("with_tfp", {"tensorflow_probability": "tfp-nightly", "jax": "jax", "optax": "optax"}),
    "NumPyro": ("with_numpyro", {"numpyro": "numpyro", "optax": "optax"}),
}


def missing(libraries: Mapping[str, tuple[str, dict[str, str]]] = LIBRARIES) -> dict[str, str]:
    """Libraries that cannot take part, with the command that brings what they lack."""
    lacking = {name: [pip for module, pip in needs.items() if not _there(module)]
               for name, (_, needs) in libraries.items()}
    return {name: f"python -m pip install {' '.join(lacks)}" for name, lacks in lacking.items() if lacks}


def _there(module: str) -> bool:
    found = find_spec(module)
    return found is not None and found.origin is not None            # a mere folder of that name is no library


def adapter(library: str) -> ModuleType:
    """The module that speaks to a library, imported only here."""
    return import_module(f"vi_ref.compare.{LIBRARIES[library][0]}")


def child(module: str, *task: Any, cache: str | None = None) -> Any:
    """The last value that a task of ``module`` yields in a process of its own; RuntimeError, in a line, if it fails."""
    lines, why = lines_of(module, *task, cache=cache)
    if why:
        raise RuntimeError(f"{' '.join(map(str, task))}: {why}")
    return lines[-1][1]


def lines_of(module: str, *task: Any, cache: str | None = None,
             timeout: float | None = None) -> tuple[list[tuple[float, Any]], str]:
    """Each value that a task in a process of its own yields, with the seconds since its start; then why it failed."""
    environment = os.environ | ({"NUMBA_CACHE_DIR": cache} if cache else {})
    command = [sys.executable, "-c", _STAMPED, module, *map(str, task)]
    began = time.monotonic()
    try:                                             # whatever ends this, the process is killed
        run = subprocess.run(command, capture_output=True, timeout=timeout, env=environment)
        printed, code = run.stdout, run.returncode
        why = "" if code == 0 else f"killed by signal {-code}" if code < 0 else f"exit code {code}"
    except subprocess.TimeoutExpired as late:
        printed, why = late.stdout or b"", f"no end after {timeout:g} seconds"
    lines = [json.loads(line) for line in printed.decode().splitlines(keepends=True) if line.endswith("\n")]
    why = next((line["failed"] for line in lines if "failed" in line), why)
    return [(line["at"] - began, line["value"]) for line in lines if "value" in line], why


#: Writes each value that ``module.TASKS[name](*arguments)`` yields, with the time, or what went wrong, where nothing
#: that a library prints can come between.
_STAMPED = """if True:
    import importlib, json, os, sys, time
    results = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    def put(**line):
        print(json.dumps(line), file=results, flush=True)
    try:
        for value in importlib.import_module(sys.argv[1]).TASKS[sys.argv[2]](*sys.argv[3:]):
            put(at=time.monotonic(), value=value)
    except Exception as error:
        put(failed=f"{type(error).__name__}: {' '.join(str(error).split())}"[:200])
"""


def machine(*others: str) -> dict[str, Any]:
    """What was measured, on what and when; with the versions of `others` as well."""
    cpu, info = platform.processor(), Path("/proc/cpuinfo")
    if info.exists():
        cpu = next((line.split(":")[1].strip() for line in info.read_text().splitlines() if "model name" in line), cpu)
    versions = {}
    for name in ("vi_ref", "numpy", "scipy", "numba", "torch", "jax", "optax", "tfp-nightly", "numpyro", *others):
        try:
            versions[name] = version(name)
        except PackageNotFoundError:
            versions[name] = None
    return {"date": f"{datetime.now(UTC):%Y-%m-%d}", "cpu": cpu, "processors": os.cpu_count(),
            "system": f"{platform.system()} {platform.machine()}", "python": platform.python_version(),
            "versions": versions}


def about(machine: Mapping[str, Any]) -> list[str]:
    """The result of `machine` as two lines of text."""
    return [f"{machine['cpu']}, {machine['processors']} processors, {machine['system']}, {machine['date']}",
            ", ".join(f"{name} {number}" for name, number in
                      {"Python": machine["python"], **machine["versions"]}.items() if number)]
