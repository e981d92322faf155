"""Run-time compilation: one build per content, shared by processes, with errors that say what to do."""

import ctypes
import dataclasses
import multiprocessing
import os
import re
import signal
import stat
import subprocess
import time
from pathlib import Path

import pytest
import torch
from filelock import FileLock

from stylegan.errors import UserError
from stylegan.ops._build import (
    BuildError,
    BuildSpec,
    CompilerMissingError,
    Source,
    build,
    cache_key,
    compiler,
    compiler_available,
    cuda_home,
    is_built,
    load_library,
    nvcc,
)
from stylegan.ops.backend import Active, Backend, activate, load
from stylegan.ops.libraries import cpu_library
from stylegan.ops.ownership import require_ours

needs_compiler = pytest.mark.skipif(not compiler_available(), reason="no C++ compiler")
SOURCE = '#include "twice.h"\nextern "C" int twice(int x) { return FACTOR * x; }\n'


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> BuildSpec:
    """A source and a header, an empty cache, and a compiler that writes a line to `calls` each time it compiles."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    (tmp_path / "twice.cpp").write_text(SOURCE)
    (tmp_path / "twice.h").write_text("#define FACTOR 2\n")
    real = compiler()[0]
    wrapper = tmp_path / "counting compiler"
    wrapper.write_text(f'#!/bin/sh\ncase "$*" in *" -c "*) echo x >> "{tmp_path}/calls";; esac\nexec {real} "$@"\n')
    wrapper.chmod(wrapper.stat().st_mode | stat.S_IXUSR)
    link = tmp_path / "cxx"
    link.symlink_to(wrapper)
    monkeypatch.setenv("CXX", str(link))
    return BuildSpec("twice", [tmp_path / "twice.cpp"], headers=[tmp_path / "twice.h"], flags=["-O0"])


def compilations(project: BuildSpec) -> int:
    calls = project.files[0].path.parent / "calls"
    return len(calls.read_text().splitlines()) if calls.exists() else 0


@needs_compiler
def test_a_library_is_compiled_once_and_works(project: BuildSpec) -> None:
    for _ in range(2):
        library = load_library(
            "twice", [file.path for file in project.files], headers=project.headers, flags=project.flags
        )
        assert library.twice(21) == 42
    assert compilations(project) == 1
    assert [path.suffix for path in build(project).parent.parent.iterdir() if path.is_dir()] == [""]  # nothing aside


@needs_compiler
def test_what_changes_the_result_changes_the_key(project: BuildSpec) -> None:
    key = cache_key(project)
    Path(project.headers[0]).write_text("#define FACTOR 3\n")
    changed = cache_key(project)
    flagged = cache_key(BuildSpec(project.name, project.sources, project.headers, flags=["-O1"]))
    versioned = cache_key(BuildSpec(project.name, project.sources, project.headers, flags=["-O0"], versions=["2.0"]))
    linked = cache_key(BuildSpec(project.name, project.sources, project.headers, flags=["-O0"], link_flags=["-lm"]))
    assert len({key, changed, flagged, versioned, linked}) == 5
    assert (
        load_library(
            "twice", [file.path for file in project.files], headers=project.headers, flags=project.flags
        ).twice(2)
        == 6
    )


@needs_compiler
def test_where_things_lie_does_not_change_the_key(project: BuildSpec, tmp_path: Path) -> None:
    """Two virtual environments with the same torch share a build; that needs a library without paths in it."""
    other = tmp_path / "other environment"
    other.mkdir()
    moved = dataclasses.replace(project, include_dirs=[other], library_dirs=[other])
    assert cache_key(moved) == cache_key(project)
    dynamic = subprocess.run(["readelf", "-d", build(moved)], capture_output=True, text=True, check=True).stdout
    assert "Dynamic section" in dynamic and "PATH)" not in dynamic


@needs_compiler
def test_the_ops_link_to_torch_by_name_alone() -> None:
    spec = cpu_library()
    assert not any(str(Path(torch.__file__).parent) in text for text in (*spec.flags, *spec.link_flags, *spec.versions))
    assert any(torch.version.git_version in text for text in spec.versions)


@needs_compiler
def test_what_is_built_needs_no_lock_and_no_writing(project: BuildSpec, tmp_path: Path) -> None:
    """So that a cache which others have filled may be read-only."""
    assert not is_built(project)
    library = build(project)
    assert is_built(project)
    before = sorted(tmp_path.rglob("*"))
    with FileLock(f"{library.parent}.lock"):
        assert build(project, lock_timeout=0.1) == library
    assert sorted(tmp_path.rglob("*")) == before


@needs_compiler
def test_eight_processes_at_once_build_once(project: BuildSpec) -> None:
    context = multiprocessing.get_context("fork")
    with context.Pool(8) as pool:
        libraries = set(pool.map(build, [project] * 8, chunksize=1))
    assert len(libraries) == 1 and libraries.pop().exists()
    assert compilations(project) == 1


@needs_compiler
def test_two_versions_taking_turns_are_both_kept(project: BuildSpec) -> None:
    """Two environments with different torch share a cache: neither may throw the other's build away."""
    for version in ("torch 1", "torch 2", "torch 1", "torch 2"):
        assert build(dataclasses.replace(project, versions=[version])).exists()
    assert compilations(project) == 2


@needs_compiler
def test_a_build_killed_half_way_leaves_nothing_in_the_way(project: BuildSpec, tmp_path: Path, monkeypatch) -> None:
    real = compiler()[0]
    slow = tmp_path / "slow"
    slow.write_text(
        f'#!/bin/sh\ncase "$*" in *" -c "*) echo x > "{tmp_path}/started"; sleep 60;; esac\nexec {real} "$@"\n'
    )
    slow.chmod(0o755)
    monkeypatch.setenv("CXX", str(slow))
    process = multiprocessing.get_context("fork").Process(target=_build_in_a_group, args=(project,))
    process.start()
    while not (tmp_path / "started").exists():
        time.sleep(0.01)
        assert process.is_alive()
    assert process.pid is not None
    os.killpg(process.pid, signal.SIGKILL)
    process.join()
    folder = tmp_path / "cache" / "stylegan" / "twice"
    assert any(path.is_dir() for path in folder.iterdir()) and any(folder.glob("*.lock"))
    slow.write_text(f'#!/bin/sh\nexec {real} "$@"\n')
    assert build(project, lock_timeout=1).exists()
    assert [path.name for path in folder.iterdir() if path.is_dir()] == [build(project).parent.name]


def _build_in_a_group(project: BuildSpec) -> None:
    os.setpgid(0, 0)
    build(project)


@needs_compiler
def test_a_lock_that_nobody_holds_is_no_obstacle(project: BuildSpec, tmp_path: Path) -> None:
    folder = tmp_path / "cache" / "stylegan" / "twice"
    folder.mkdir(parents=True)
    (folder / f"{cache_key(project)}.lock").write_text("12345")
    assert build(project, lock_timeout=0.1).exists()


@needs_compiler
def test_compiling_says_so(project: BuildSpec, capsys: pytest.CaptureFixture[str]) -> None:
    folder = build(project).parent
    said = capsys.readouterr().err
    assert f"compiling twice (1 files) into {folder}" in said and "compiled in" in said
    build(project)
    assert capsys.readouterr().err == ""


@needs_compiler
def test_a_source_may_be_compiled_twice_with_flags_of_its_own(project: BuildSpec) -> None:
    source = project.files[0].path
    source.write_text('extern "C" int NAME(void) { return 7; }\n')
    twins = [Source(source, [f"-DNAME={name}"], f"-{name}") for name in ("first", "second")]
    library = ctypes.CDLL(str(build(BuildSpec("twins", twins))))
    assert library.first() == library.second() == 7


def test_the_toolkit_is_found_where_nvcc_is_a_script(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """nvcc's own dry run says where it belongs to; the folder that a wrapper lies in says nothing."""
    (tmp_path / "toolkit" / "bin").mkdir(parents=True)
    script = tmp_path / "nvcc"
    script.write_text(f'#!/bin/sh\necho "#\\$ _SPACE_= " >&2\necho "#\\$ TOP={tmp_path}/toolkit/bin/.." >&2\n')
    script.chmod(0o755)
    monkeypatch.delenv("CUDA_HOME", raising=False)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    assert nvcc() == script
    assert cuda_home() == tmp_path / "toolkit"
    script.write_text("#!/bin/sh\nexit 1\n")
    with pytest.raises(BuildError, match="CUDA_HOME"):
        cuda_home()
    monkeypatch.setenv("CUDA_HOME", str(tmp_path / "nowhere"))
    with pytest.raises(CompilerMissingError, match="nowhere"):
        nvcc()


@needs_compiler
def test_a_broken_source_names_the_error_and_the_log(project: BuildSpec) -> None:
    project.files[0].path.write_text("int broken( { return undeclared_thing; }\n")
    with pytest.raises(BuildError, match=r"twice\.cpp.*error") as caught:
        build(project)
    log = re.search(r"log is in (\S+);", str(caught.value))
    assert log and "broken" in Path(log.group(1)).read_text()
    assert "CXX" in str(caught.value)
    # Nothing half-built stays behind: mending the source is enough.
    project.files[0].path.write_text(SOURCE)
    assert build(project).exists()


@needs_compiler
def test_waiting_for_another_process_ends(project: BuildSpec, tmp_path: Path) -> None:
    folder = tmp_path / "cache" / "stylegan" / "twice"
    folder.mkdir(parents=True)
    with (
        FileLock(folder / f"{cache_key(project)}.lock"),
        pytest.raises(BuildError, match="another process has been building twice"),
    ):
        build(project, lock_timeout=0.1)


def test_a_missing_compiler_is_told_apart(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("CXX", "/no/such/compiler")
    assert not compiler_available()
    with pytest.raises(CompilerMissingError, match=r"/no/such/compiler.*apt install g\+\+"):
        build(BuildSpec("x", [tmp_path / "x.cpp"]))
    monkeypatch.delenv("CXX")
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(CompilerMissingError, match=r"no C\+\+ compiler"):
        build(BuildSpec("x", [tmp_path / "x.cpp"]))
    assert issubclass(CompilerMissingError, BuildError) and issubclass(BuildError, UserError)


def test_a_compiler_that_does_not_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    broken = tmp_path / "broken"
    broken.write_text("#!/bin/sh\necho no licence found\nexit 3\n")
    broken.chmod(0o755)
    monkeypatch.setenv("CXX", str(broken))
    with pytest.raises(BuildError, match=r"broken --version failed: no licence found; mend or unset CXX"):
        build(BuildSpec("x", [tmp_path / "x.cpp"]))


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_cuda_without_a_device(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TORCH_CUDA_ARCH_LIST", raising=False)
    cuda = torch.device("cuda")
    with pytest.raises(UserError, match=r"no CUDA device can be seen.*ops\.backend=reference"):
        activate(Backend.compiled, cuda)
    told = activate(Backend.auto, cuda)
    assert told.name == "reference" and told.warning and "no CUDA device" in told.warning
    assert activate(Backend.auto, cuda, build_for_auto=False) == Active("reference")


@needs_compiler
def test_a_cache_that_cannot_be_written_is_named(project: BuildSpec, tmp_path: Path, monkeypatch) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    with pytest.raises(BuildError, match="XDG_CACHE_HOME"):
        build(project)


@needs_compiler
def test_a_missing_source_is_named(project: BuildSpec, tmp_path: Path) -> None:
    with pytest.raises(BuildError, match=r"gone\.cpp"):
        build(BuildSpec("gone", [tmp_path / "gone.cpp"]))


def of_another(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a file or folder belong to somebody else: root can give it away, others can become somebody else."""
    me = os.geteuid()
    if me == 0:
        os.chown(path, 12345, -1)
    else:
        monkeypatch.setattr(os, "geteuid", lambda: me + 1)


def place(library: Path, level: int) -> Path:
    """The library, its folder, that of its name, and the cache."""
    return (library, *library.parents)[level]


@needs_compiler
@pytest.mark.parametrize("level", range(4))
@pytest.mark.parametrize("built", [True, False])
def test_nothing_of_another_user_is_loaded(project: BuildSpec, level: int, built: bool, monkeypatch) -> None:
    library = build(project)
    spec = project if built else dataclasses.replace(project, versions=["new"])
    foreign = place(library, level)
    of_another(foreign, monkeypatch)
    if not built and level < 2 and os.geteuid() == 0:
        assert build(spec).exists()  # beside what is another's
        return
    with pytest.raises(BuildError, match=r"belongs to another user.*XDG_CACHE_HOME"):
        build(spec)


@needs_compiler
@pytest.mark.parametrize("level", range(4))
@pytest.mark.parametrize("mode", [0o777, 0o775, 0o757, 0o1777])
def test_nothing_that_others_can_write_to_is_loaded(project: BuildSpec, level: int, mode: int) -> None:
    library = build(project)
    open_place = place(library, level)
    open_place.chmod(mode)
    with pytest.raises(BuildError, match=rf"{open_place.name} can be written to by other users.*chmod go-w"):
        build(project)
    open_place.chmod(0o755)
    assert build(project) == library


@needs_compiler
def test_folders_above_the_cache_may_be_sticky_or_a_group_of_ones_own(project: BuildSpec, tmp_path: Path) -> None:
    library, above = build(project), tmp_path / "cache"
    above.chmod(0o1777)
    assert build(project) == library
    above.chmod(0o777)
    with pytest.raises(BuildError, match="cache can be written to by other users"):
        build(project)
    if os.geteuid() == 0:
        os.chown(above, -1, 12345)
        above.chmod(0o775)
        with pytest.raises(BuildError, match="cache can be written to by other users"):
            build(project)
        os.chown(above, 12345, -1)
        above.chmod(0o755)
        with pytest.raises(BuildError, match="cache belongs to another user"):
            build(project)


@needs_compiler
def test_links_in_the_cache_are_not_followed(project: BuildSpec, tmp_path: Path) -> None:
    library = build(project)
    library.parent.rename(tmp_path / "elsewhere")
    library.parent.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(BuildError, match="is a link"):
        build(project)
    library.parent.unlink()
    Path(f"{library.parent}.lock").unlink(missing_ok=True)
    Path(f"{library.parent}.lock").symlink_to(tmp_path / "new")
    with pytest.raises(UserError, match="lock is a link"):
        build(project)
    assert not (tmp_path / "new").exists()


@needs_compiler
def test_a_cache_behind_a_link_of_ones_own(project: BuildSpec, tmp_path: Path) -> None:
    (tmp_path / "disk").mkdir()
    (tmp_path / "cache").symlink_to("disk")
    assert build(project).exists() and any((tmp_path / "disk" / "stylegan").iterdir())
    require_ours(build(project), tmp_path / "cache" / "stylegan")


@needs_compiler
def test_whatever_the_umask_others_cannot_write_to_a_build(project: BuildSpec, tmp_path: Path) -> None:
    old = os.umask(0)
    try:
        library = build(project)
    finally:
        os.umask(old)
    assert build(project) == library
    made = [path for path in (tmp_path / "cache").rglob("*") if path.suffix != ".lock"]
    assert all(path.stat().st_mode & 0o022 == 0 for path in (tmp_path / "cache", *made))


@needs_compiler
def test_the_ops_are_not_loaded_from_such_a_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    folder = tmp_path / "stylegan" / "stylegan_cpu" / cache_key(cpu_library())
    folder.mkdir(parents=True)
    (folder / "stylegan_cpu.so").write_bytes(b"code of another")
    folder.chmod(0o777)
    with pytest.raises(BuildError, match="can be written to by other users"):
        load("cpu")
