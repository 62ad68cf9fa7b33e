"""The rooms and their one direction, and what no module may do, read from the source.

`ROOMS` says of each room what it may import of its own package; the lines of `docs/design.md` say what each is for.
"""

import ast
import io
import os
import re
import subprocess
import sys
import tokenize
from collections import Counter, defaultdict
from functools import lru_cache
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = ("orchestrator", "jobs", "search_spaces")
# Beside a package's `__init__`; everything else stands in a room.
FLAT = {
    "orchestrator": {"__main__.py", "run.py", "wording.py"},
    "jobs": {"errors.py", "worker.py"},
    "search_spaces": set(),
}
# From the lowest line up: a room imports rooms of lower lines, never of its own.
JOBS = (
    "spec errors",
    "files runtime arithmetic scoring",
    "backbones",
    "adapters data",
    "models merging",
    "tokens",
    "pretraining tasks",
    "evaluation",
    "training",
    "banks",
    "worker",
    "ray",
)
LEVELS = {room: level for level, rooms in enumerate(JOBS) for room in rooms.split()}
# What the driver's rooms may import of one another; `wording` is open to all.
ROOMS = {
    "wording": "",
    "store": "",
    "campaign": "",
    "scheduling": "campaign store",
    "plan": "campaign store",
    "search": "store",
    "clusters": "campaign plan",
    "execution": "campaign clusters plan scheduling search store",
    "lineage": "execution plan store",
    "results": "campaign execution plan store",
    "plots": "scheduling",
    "report": "campaign plan plots results store",
    "run": "campaign execution lineage plan report scheduling search store",
    "cli": "campaign clusters execution lineage plan plots report results run scheduling search store",
    "__main__": "cli",
}
SEARCH_SPACES = {"mixtures": "", "relatedness": "", "strategies": "mixtures"}
# Third parties that stand in the folders of their name, or in one room each.
HOMES = {
    "ray": ("jobs/ray", "orchestrator/clusters/ray", "orchestrator/execution/ray"),
    "mlflow": ("orchestrator/lineage/mlflow",),
    "sqlalchemy": ("orchestrator/lineage/mlflow",),
    "matplotlib": ("orchestrator/plots",),
    "kubernetes": ("orchestrator/clusters/k8s",),
    "typer": ("orchestrator/cli",),
    "deepspeed": ("jobs/banks/sharded",),
    "accelerate": ("jobs/banks/sharded",),
    "optuna": ("search_spaces/strategies",),
    "cmaes": ("search_spaces/strategies",),
    "jinja2": ("orchestrator/report", "orchestrator/lineage", "jobs/tokens", "jobs/evaluation"),
    "seqeval": ("jobs/scoring",),
    "sacrebleu": ("jobs/scoring",),
    "sentencepiece": ("jobs/scoring",),
    "lm_eval": ("jobs/evaluation",),
}
# Files that use what a library keeps for itself; tests hold them against the pinned version.
PRIVATE = {"orchestrator/clusters/ray/private.py"}
# Files that rename or replace others: atomic writes, and directories that come into their place. Beside them a database
# that SQLite itself wrote, and records that keep the time which the bucket has of them.
RENAMING = {
    "jobs/backbones/installed.py",
    "jobs/data/hub_source.py",
    "jobs/files/atomic.py",
    "jobs/merging/merge.py",
    "jobs/pretraining/pretrain.py",
    "orchestrator/lineage/export.py",
    "orchestrator/lineage/mlflow/connection.py",
    "orchestrator/lineage/mlflow/registry.py",
    "orchestrator/report/adapter_comparison.py",
    "orchestrator/store/artifacts.py",
    "orchestrator/store/backend.py",
    "orchestrator/store/bucket.py",
    "orchestrator/store/redo.py",
}
LONGEST = 400
MOST_FILES, FEWEST_FILES = 20, 4
# Importing one of these costs a noticeable part of a second; nothing that plans may.
HEAVY = {"torch", "ray", "mlflow", "datasets", "transformers", "adapters", "peft", "matplotlib", "kubernetes"}
# What a function may import late to spare whoever does not call it; the test knows nothing lighter.
LATE = HEAVY | {
    "deepspeed",
    "accelerate",
    "optuna",
    "cmaes",
    "huggingface_hub",
    "lang2vec",
    "babel",
    "safetensors",
    "lm_eval",
}
# The locale files of the installed babel package, as babel itself reads them; whether an error survives the way
# between a worker and its driver, of the bytes just written.
UNPICKLING = {ROOT / "jobs/data/cldr_vocabulary.py", ROOT / "jobs/ray/mailbox.py"}
UNSAFE_CALLS = {"eval", "exec", "compile", "__import__"}
MODULES = sorted(path for package in PACKAGES for path in (ROOT / package).rglob("*.py"))
NAMES = {".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path for path in MODULES}
FOLDERS = sorted({path.parent for path in MODULES} - {ROOT / package for package in PACKAGES})
BY_HAND = {ROOT / "jobs/backbones"}  # a model's files, and where they are


@lru_cache(maxsize=1000)
def tree_of(path):
    return ast.parse(path.read_text(encoding="utf-8"), str(path))


def short(path):
    return path.relative_to(ROOT).as_posix()


@lru_cache(maxsize=1000)
def imports(path, deep=True):
    """(dotted name, line) of what a module imports; without `deep` only what is imported with the module itself."""
    found = []
    for node in ast.walk(tree_of(path)) if deep else _at_top(tree_of(path)):
        if isinstance(node, ast.Import):
            found += [(alias.name, node.lineno) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{short(path)}:{node.lineno}: imports are absolute"
            found += [(f"{node.module}.{alias.name}", node.lineno) for alias in node.names]
    return tuple(found)


def _at_top(node):
    for child in ast.iter_child_nodes(node):
        if isinstance(child, (ast.FunctionDef, ast.AsyncFunctionDef)):
            continue
        if isinstance(child, ast.If) and "TYPE_CHECKING" in ast.dump(child.test):
            continue
        yield child
        yield from _at_top(child)


def module_of(name):
    """The module of ours that a dotted name is in, or an empty string."""
    while name and name not in NAMES:
        name = name.rpartition(".")[0]
    return name


def own_imports(path, deep=True):
    for name, line in imports(path, deep):
        if (found := module_of(name)) and NAMES[found] != path:
            yield found, line


def room_of(module):
    parts = module.split(".")
    return parts[1] if len(parts) > 1 else parts[0]


def edges():
    """(importing file, line, importing module, imported module) of all modules of ours."""
    for name, path in NAMES.items():
        for imported, line in own_imports(path):
            yield f"{short(path)}:{line}", name, imported


def allowed(name, imported):
    (package, here), (other, there) = ((one.split(".")[0], room_of(one)) for one in (name, imported))
    if package != other:
        if package == "orchestrator":
            return True
        return package == "search_spaces" and other == "jobs" and there in ("spec", "errors")
    if here == there or there == package:
        return True
    if package == "jobs":
        return LEVELS[there] < LEVELS[here]
    table = ROOMS if package == "orchestrator" else SEARCH_SPACES
    return there == "wording" or there in table[here].split()


def test_rooms_import_what_stands_below_them():
    assert not [
        f"{place}: {name} imports {imported}" for place, name, imported in edges() if not allowed(name, imported)
    ]


def test_every_room_has_its_line_in_the_tables():
    found = {
        package: {p.name for p in (ROOT / package).iterdir() if (p / "__init__.py").is_file()} for package in PACKAGES
    }
    assert found["orchestrator"] <= set(ROOMS)
    assert found["jobs"] <= set(LEVELS)
    assert found["search_spaces"] == set(SEARCH_SPACES)


def in_order(graph):
    try:
        return list(TopologicalSorter(graph).static_order())
    except CycleError as circle:
        pytest.fail(" imports ".join(reversed(circle.args[1])))


def test_no_circle_of_files():
    in_order({name: {imported for imported, _ in own_imports(path)} for name, path in NAMES.items()})


def test_no_circle_of_packages():
    graph = defaultdict(set)
    for _, name, imported in edges():
        one, other = (NAMES[module].parent for module in (name, imported))
        if one != other and one not in other.parents and other not in one.parents:
            graph[short(one)].add(short(other))
    in_order(graph)


def test_the_vocabulary_imports_the_standard_library_alone():
    for path in (*(ROOT / "jobs/spec").glob("*.py"), ROOT / "jobs/errors.py"):
        for name, line in imports(path):
            ours = name.startswith(("jobs.spec", "jobs.errors"))
            assert ours or name.split(".")[0] in sys.stdlib_module_names, f"{short(path)}:{line}: {name}"


def test_nothing_lies_flat_beside_the_rooms():
    for package in PACKAGES:
        found = {path.name for path in (ROOT / package).glob("*.py")} - {"__init__.py"}
        assert found == FLAT[package]


def test_a_room_holds_what_can_be_looked_over():
    for folder in (one for one in FOLDERS if one not in BY_HAND):
        held = [*folder.glob("*.py"), *(one for one in folder.iterdir() if (one / "__init__.py").is_file())]
        assert FEWEST_FILES <= len(held) <= MOST_FILES, f"{short(folder)} holds {len(held)}"


def test_every_room_says_in_a_line_what_it_is_for_and_the_design_page_has_that_line():
    page = " ".join((ROOT / "docs/design.md").read_text(encoding="utf-8").split())
    for folder in FOLDERS:
        line = ast.get_docstring(tree_of(folder / "__init__.py")).splitlines()[0]
        assert line.endswith(".") and f"{folder.name}/` {line}" in page, f"{short(folder)}: {line}"


def test_third_parties_stand_in_their_rooms():
    for path in MODULES:
        for name, line in imports(path):
            home = HOMES.get(name.split(".")[0])
            assert home is None or short(path.parent).startswith(home), f"{short(path)}:{line}: {name}"


def test_what_others_keep_for_themselves_is_used_in_named_files_alone():
    for path in MODULES:
        for name, line in imports(path):
            private = any(part.startswith("_") and not part.endswith("__") for part in name.split("."))
            ours = name.split(".")[0] in PACKAGES
            assert ours or not private or short(path) in PRIVATE, f"{short(path)}:{line}: {name}"


@lru_cache(maxsize=1000)
def loads(name):
    """Third parties that are loaded with a module of ours."""
    seen, found, waiting = set(), set(), [name]
    while waiting:
        module = waiting.pop()
        if module in seen:
            continue
        seen.add(module)
        waiting += [".".join(module.split(".")[:n]) for n in range(1, module.count(".") + 1)]
        for imported, _ in imports(NAMES[module], deep=False):
            if ours := module_of(imported):
                waiting.append(ours)
            else:
                found.add(imported.split(".")[0])
    return found


def test_imports_inside_functions_spare_something_heavy():
    for name, path in NAMES.items():
        at_top = set(own_imports(path, deep=False))
        for node in ast.walk(tree_of(path)):
            if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test):
                at_top |= {(module_of(f"{one.module}.{a.name}"), one.lineno) for one in node.body for a in one.names}
        for imported, line in set(own_imports(path)) - at_top:
            spared = loads(imported) & LATE - loads(name)
            assert spared, f"{short(path)}:{line}: {imported} loads nothing heavy: import it at the top"


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


def test_files_are_renamed_where_it_is_said():
    """`Path.replace` takes one argument, `str.replace` two."""
    for path in MODULES:
        for node in ast.walk(tree_of(path)):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
                name = ast.unparse(node.func)
                on_path = node.func.attr in ("replace", "rename") and len(node.args) == 1 and not node.keywords
                renames = on_path or name in ("os.replace", "os.rename", "shutil.move")
                assert not renames or short(path) in RENAMING, f"{short(path)}:{node.lineno}: {name}"


def test_a_class_name_means_one_class_in_its_package():
    for package in PACKAGES:
        places = defaultdict(list)
        for path in (path for path in MODULES if path.is_relative_to(ROOT / package)):
            for node in ast.walk(tree_of(path)):
                if isinstance(node, ast.ClassDef):
                    places[node.name].append(f"{short(path)}:{node.lineno}")
        assert not {name: where for name, where in places.items() if len(where) > 1}


@lru_cache(maxsize=1000)
def words_of(path):
    """How often each name stands in a module's code; texts do not count, but annotations that are texts do."""
    words = Counter()
    for token in tokenize.generate_tokens(io.StringIO(path.read_text(encoding="utf-8")).readline):
        if token.type == tokenize.NAME:
            words[token.string] += 1
        elif token.type == tokenize.STRING and len(token.string) < 120:
            words.update(re.findall(r"[A-Za-z_]\w*", token.string))
    return words


def test_every_public_name_has_a_user_outside_the_tests():
    readers = [
        path for path in (*MODULES, *(ROOT / "benchmarks").glob("*.py")) if path != ROOT / "jobs/spec/__init__.py"
    ]
    total = sum((words_of(path) for path in readers), Counter())
    unused = [
        f"{short(path)}:{node.lineno}: {node.name}"
        for path in MODULES
        for node in tree_of(path).body
        if isinstance(node, (ast.FunctionDef, ast.ClassDef)) and total[node.name] < 2
    ]
    assert not unused


def test_modules_are_short():
    lengths = {short(path): len(path.read_text(encoding="utf-8").splitlines()) for path in MODULES}
    assert not {name: length for name, length in lengths.items() if length > LONGEST}


def test_tests_on_ray_stand_where_the_makefile_looks_for_them():
    looked_at = (ROOT / "Makefile").read_text(encoding="utf-8").split()
    for path in (ROOT / "tests").rglob("test_*.py"):
        if re.search(r"mark\.ray\b", path.read_text(encoding="utf-8")):
            assert {short(path), short(path.parent)} & set(looked_at), f"{short(path)} is run by no `make tests`"


def test_no_module_is_a_drawer_of_utilities():
    drawers = ("utils.py", "_utils.py", "util.py", "helpers.py", "common.py", "misc.py")
    assert not [short(path) for path in MODULES if path.name.endswith(drawers)]


def test_every_module_says_what_it_is_for():
    assert not [short(path) for path in MODULES if not ast.get_docstring(tree_of(path))]


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
            assert not unpickles or path in UNPICKLING, place
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
    assert not [short(p) for p in texts if any(home in p.read_text(encoding="utf-8") for home in homes)]
