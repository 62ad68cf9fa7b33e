"""The arrows between packages, and what no module may do, read from the source."""

import ast
import os
import subprocess
import sys
from functools import lru_cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = ("orchestrator", "jobs", "search_spaces")
MODULES = sorted(path for package in PACKAGES for path in (ROOT / package).rglob("*.py"))
VOCABULARY = [
    path for path in MODULES if path.is_relative_to(ROOT / "jobs") and "spec" in path.relative_to(ROOT).parts[1]
]
VOCABULARY.append(ROOT / "jobs" / "errors.py")
LONGEST = 400
HEAVY = {"torch", "ray", "mlflow", "datasets", "transformers", "adapters", "peft", "matplotlib"}
# The locale files of the installed babel package, as babel itself reads them; whether an error survives the way
# between a worker and its driver, of the bytes just written.
UNPICKLING = ("cldr_vocabulary.py", "mailbox.py")
UNSAFE_CALLS = {"eval", "exec", "compile", "__import__"}


@lru_cache(maxsize=1000)
def tree_of(path):
    return ast.parse(path.read_text(encoding="utf-8"), str(path))


def imports(tree, deep=True):
    """Dotted names of modules; without `deep` only those imported with the module itself, outside TYPE_CHECKING."""
    nodes = ast.walk(tree) if deep else _at_top(tree)
    for node in nodes:
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def _at_top(node):
    for child in ast.iter_child_nodes(node):
        if isinstance(child, (ast.FunctionDef, ast.AsyncFunctionDef)):
            continue
        if isinstance(child, ast.If) and "TYPE_CHECKING" in ast.dump(child.test):
            continue
        yield child
        yield from _at_top(child)


def uses(path, package, deep=True):
    return any(name == package or name.startswith(f"{package}.") for name in imports(tree_of(path), deep))


def named(paths):
    return [str(path.relative_to(ROOT)) for path in paths]


def test_jobs_know_nothing_above_them():
    inside = [path for path in MODULES if path.is_relative_to(ROOT / "jobs")]
    assert not named(path for path in inside if uses(path, "orchestrator") or uses(path, "search_spaces"))


def test_search_spaces_know_only_the_vocabulary_of_jobs():
    for path in (path for path in MODULES if path.is_relative_to(ROOT / "search_spaces")):
        assert not uses(path, "orchestrator"), path
        assert all(in_vocabulary(name) for name in imports(tree_of(path)) if name.split(".")[0] == "jobs"), path


def test_the_vocabulary_imports_the_standard_library_alone():
    for path in VOCABULARY:
        others = {one for one in imports(tree_of(path)) if not in_vocabulary(one)}
        assert {one.split(".")[0] for one in others} <= set(sys.stdlib_module_names), path


def in_vocabulary(name):
    return name.startswith(("jobs.spec", "jobs.errors"))


def test_ray_is_imported_in_ray_modules_alone():
    assert not named(
        path for path in MODULES if uses(path, "ray") and not (path.name.startswith("ray_") or "ray" in path.parts)
    )


def test_mlflow_is_imported_in_lineage_modules_alone():
    allowed = [path for path in MODULES if path.name.startswith("lineage_") or "lineage" in path.parent.parts[-2:]]
    allowed.append(ROOT / "orchestrator" / "lineage.py")
    assert not named(path for path in MODULES if uses(path, "mlflow") and path not in allowed)


@pytest.mark.parametrize(
    "module",
    [
        "jobs.spec",
        "orchestrator.scheduling.schedule",
        "orchestrator.plan.plan",
        "orchestrator.campaign.load",
        "orchestrator.cli.app",
        "search_spaces.relatedness.selection",
    ],
)
def test_planning_loads_nothing_heavy(module):
    code = f"import sys, {module}; print(sorted({HEAVY!r} & set(sys.modules)))"
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment, check=True)
    assert answer.stdout.strip() == "[]"


def test_modules_are_short():
    lengths = {str(path.relative_to(ROOT)): len(path.read_text(encoding="utf-8").splitlines()) for path in MODULES}
    assert not {name: length for name, length in lengths.items() if length > LONGEST}


def test_no_module_is_a_drawer_of_utilities():
    drawers = ("utils.py", "_utils.py", "util.py", "helpers.py", "common.py", "misc.py")
    assert not named(path for path in MODULES if path.name.endswith(drawers))


def test_every_module_says_what_it_is_for():
    assert not named(path for path in MODULES if not ast.get_docstring(tree_of(path)))


def test_no_handler_catches_everything_silently():
    for path in MODULES:
        for node in ast.walk(tree_of(path)):
            if isinstance(node, ast.ExceptHandler):
                assert node.type is not None, f"{path}:{node.lineno}: bare except"
                hides = all(isinstance(one, ast.Pass) for one in node.body)
                broad = isinstance(node.type, ast.Name) and node.type.id in ("Exception", "BaseException")
                assert not (hides and broad), f"{path}:{node.lineno}: an error is hidden"


def calls(path):
    for node in ast.walk(tree_of(path)):
        if isinstance(node, ast.Call):
            yield ast.unparse(node.func), {k.arg: k.value for k in node.keywords}, f"{path}:{node.lineno}"


def test_no_foreign_code_is_run():
    for path in MODULES:
        for name, keywords, place in calls(path):
            assert name not in UNSAFE_CALLS, f"{place}: {name}"
            assert name not in ("os.system", "os.popen"), place
            unpickles = name.startswith(("pickle.", "cloudpickle.", "marshal.", "shelve."))
            assert not unpickles or path.name.endswith(UNPICKLING), place
            trusts = keywords.get("trust_remote_code")
            assert trusts is None or ast.unparse(trusts) == "False", place
            assert ast.unparse(keywords.get("shell", ast.Constant(False))) == "False", place


def test_torch_files_are_read_as_weights_alone():
    for path in MODULES:
        for name, keywords, place in calls(path):
            if name == "torch.load":
                assert ast.unparse(keywords.get("weights_only", ast.Constant(None))) == "True", place


SAFE_LOADERS = {"PlainLoader", "yaml.SafeLoader", "yaml.CSafeLoader", "SafeLoader"}


def test_yaml_is_read_by_safe_loaders_alone():
    for path in MODULES:
        for name, keywords, place in calls(path):
            if name in ("yaml.load", "yaml.load_all", "yaml.compose"):
                assert ast.unparse(keywords.get("Loader", ast.Constant(None))) in SAFE_LOADERS, place
            assert name not in ("yaml.unsafe_load", "yaml.full_load", "yaml.unsafe_load_all", "yaml.full_load_all"), (
                place
            )


def test_nothing_speaks_of_the_machine_it_was_written_on():
    homes = ("/ro" + "ot/", "/wo" + "rk/", "/ho" + "me/")
    texts = [*MODULES, *(ROOT / "campaigns").glob("*.yaml"), *(ROOT / "docs").glob("*.md"), ROOT / "README.md"]
    assert not named(p for p in texts if any(home in p.read_text(encoding="utf-8") for home in homes))
