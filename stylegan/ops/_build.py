"""Run-time compilation of C++ and CUDA sources with ninja, into a cache that is shared by processes and runs.

A build is named by a hash of all that can change its result: the content of sources and headers, flags, the compiler
and the platform. So a cached library is never stale, and nothing has to be cleaned after an edit or an upgrade. Where things
lie is no part of it: virtual environments with the same torch share one build, since a library does not remember paths.
"""

import ctypes
import hashlib
import os
import platform
import shutil
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from stylegan.errors import UserError
from stylegan.files import file_lock, make_folder, open_below
from stylegan.ops.ownership import require_ours

LOCK_TIMEOUT = 900.0  # seconds; a build of all CUDA kernels takes minutes, so waiting for another process is normal


class BuildError(UserError):
    """Native code could not be compiled or loaded. The message names the cause, the log file and the fix."""


class CompilerMissingError(BuildError):
    """There is no C++ compiler on this machine."""


@dataclass(frozen=True)
class Source:
    """One file to compile, perhaps one time of several with different flags.

    Attributes:
        path: A C++ file, or a CUDA file if it ends in .cu: that goes through nvcc.
        flags: Flags of this file alone, after those of the whole library.
        label: Added to the object's name.
    """

    path: Path
    flags: Sequence[str] = ()
    label: str = ""

    @property
    def cuda(self) -> bool:
        """Whether nvcc compiles it."""
        return self.path.suffix == ".cu"


@dataclass(frozen=True)
class BuildSpec:
    """Everything that determines one shared library.

    Attributes:
        name: Name of the library, and of its folder in the cache.
        sources: Files to compile.
        headers: Files that the sources include; they only enter the cache key.
        include_dirs: Folders for `-I`; not in the cache key: what lies there is told by `headers` and `versions`.
        library_dirs: Folders for `-L`; likewise.
        flags: Flags of the C++ compiler, in order.
        cuda_flags: Flags of nvcc, in order.
        link_flags: Linker flags, in order.
        versions: Versions of what comes from outside, such as torch's where its headers are included.
    """

    name: str
    sources: Sequence[Path | Source]
    headers: Sequence[Path] = ()
    include_dirs: Sequence[Path] = ()
    library_dirs: Sequence[Path] = ()
    flags: Sequence[str] = ()
    cuda_flags: Sequence[str] = ()
    link_flags: Sequence[str] = ()
    versions: Sequence[str] = ()

    @property
    def files(self) -> list[Source]:
        """All sources, each with its own flags."""
        return [source if isinstance(source, Source) else Source(Path(source)) for source in self.sources]

    @property
    def needs_nvcc(self) -> bool:
        """Whether any of the sources is CUDA."""
        return any(source.cuda for source in self.files)


def compiler() -> list[str]:
    """The C++ compiler's command: `$CXX` if set (it may hold arguments), else the first of c++, g++ and clang++.

    Raises:
        CompilerMissingError: None of them is there.
    """
    chosen = os.environ.get("CXX", "").split()
    for candidate in [chosen] if chosen else [["c++"], ["g++"], ["clang++"]]:
        path = shutil.which(candidate[0])
        if path:
            return [path, *candidate[1:]]
    what = f"CXX={' '.join(chosen)!r} is not a program" if chosen else "no C++ compiler (c++, g++, clang++) was found"
    raise CompilerMissingError(f"{what}; install one (apt install g++) or set CXX to its path")


def nvcc() -> Path:
    """The CUDA compiler: `$CUDA_HOME/bin/nvcc` if that is set, else the first nvcc on the PATH, else /usr/local/cuda's.

    Raises:
        CompilerMissingError: None of them is there.
    """
    home = os.environ.get("CUDA_HOME", "")
    found = (
        shutil.which(f"{home}/bin/nvcc") if home else shutil.which("nvcc") or shutil.which("/usr/local/cuda/bin/nvcc")
    )
    if found is None:
        what = f"CUDA_HOME={home} holds no bin/nvcc" if home else "no nvcc was found"
        raise CompilerMissingError(f"{what}; install the CUDA toolkit, or set CUDA_HOME to where it is")
    return Path(found)


def cuda_home() -> Path:
    """The folder of the CUDA toolkit that `nvcc()` belongs to, as nvcc itself says: nvcc may be a script elsewhere.

    Raises:
        BuildError: nvcc does not say.
        CompilerMissingError: There is no nvcc.
    """
    command = nvcc()
    result = _run([str(command), "--dryrun", "-E", "-x", "cu", os.devnull])
    for line in result.stdout.splitlines():
        name, _, value = line.removeprefix("#$ ").partition("=")
        if name == "TOP" and value:
            return Path(value).resolve()
    raise BuildError(f"{command} --dryrun names no toolkit ({_tail(result.stdout, 1)}); set CUDA_HOME to its folder")


def compiler_available() -> bool:
    """Whether `compiler()` finds a program."""
    try:
        compiler()
    except CompilerMissingError:
        return False
    return True


def cache_root() -> Path:
    """The folder of all builds: `$XDG_CACHE_HOME/stylegan`, by default `~/.cache/stylegan`."""
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "stylegan"


def cache_key(spec: BuildSpec) -> str:
    """Hash (24 hexadecimal digits) of everything that the library depends on.

    Raises:
        BuildError: A source is missing, or the compiler does not run.
        CompilerMissingError: There is no compiler.
    """
    settings = [spec.name, platform.system(), platform.machine(), *spec.versions, *_identity(compiler(), "CXX")]
    if spec.needs_nvcc:
        settings += ["cuda", *_identity([str(nvcc())], "CUDA_HOME"), *spec.cuda_flags]
    settings += ["flags", *spec.flags, "link", *spec.link_flags]
    settings += ["sources", *(text for source in spec.files for text in (source.label, *source.flags, ";"))]
    digest = hashlib.sha256()
    for text in settings:
        digest.update(text.encode() + b"\0")
    for path in [*(source.path for source in spec.files), *spec.headers]:
        try:
            content = Path(path).read_bytes()
        except OSError as error:
            raise BuildError(f"cannot read {path}: {error.strerror}; install stylegan again") from None
        digest.update(Path(path).name.encode() + b"\0" + hashlib.sha256(content).digest())
    return digest.hexdigest()[:24]


def build(spec: BuildSpec, *, lock_timeout: float = LOCK_TIMEOUT) -> Path:
    """Compile `spec` unless the cache holds it, and return the path of the shared library.

    Any number of processes may call this at once: one builds, the others wait for it. The library appears whole or not
    at all, since it is built aside and renamed. A library is code: it is taken only from a cache that is this user's or
    root's, and that nobody else can write to; another is refused, since what is in it may be anybody's.

    Args:
        spec: What to build.
        lock_timeout: Seconds to wait for another process that builds the same.

    Raises:
        BuildError: Compilation failed (the message names the log), the cache cannot be written or is not ours alone, or the
            wait took too long.
        CompilerMissingError: There is no compiler.
    """
    library = _library(spec)
    folder = library.parent
    _check_owner(library)
    if library.exists():
        return library
    from filelock import Timeout  # who finds the library in the cache need not have it

    try:
        _make_cache(spec.name)
        _check_owner(library)
        with file_lock(Path(f"{folder}.lock")).acquire(timeout=lock_timeout):
            if not library.exists():  # another process may have built it while we waited
                _build_aside(spec, folder)
    except Timeout:
        raise BuildError(
            f"another process has been building {spec.name} for over {lock_timeout:.0f} s; "
            f"wait for it, or end it, and try again (lock: {folder}.lock)"
        ) from None
    except OSError as error:
        raise BuildError(
            f"cannot write the build of {spec.name} to {folder.parent}: {error.strerror}; "
            "set XDG_CACHE_HOME to a folder that can be written to"
        ) from None
    return library


def is_built(spec: BuildSpec) -> bool:
    """Whether the cache holds `spec`, so that `build` would take no time.

    Raises:
        BuildError, CompilerMissingError: As `cache_key`.
    """
    return _library(spec).exists()


def load_library(
    name: str,
    sources: Sequence[Path],
    *,
    headers: Sequence[Path] = (),
    include_dirs: Sequence[Path] = (),
    flags: Sequence[str] = (),
    link_flags: Sequence[str] = (),
) -> ctypes.CDLL:
    """Compile C++ sources (or find them in the cache) and load the library with ctypes.

    Raises:
        BuildError: It could not be compiled or loaded.
        CompilerMissingError: There is no compiler.
    """
    library = build(BuildSpec(name, sources, headers, include_dirs, flags=flags, link_flags=link_flags))
    try:
        return ctypes.CDLL(str(library))
    except OSError as error:
        raise BuildError(f"cannot load {library}: {error}; delete {library.parent} and try again") from None


def _check_owner(library: Path) -> None:
    try:
        require_ours(library, cache_root())
    except UserError as error:
        raise BuildError(str(error)) from None
    except OSError as error:
        raise BuildError(
            f"cannot look at the build cache {cache_root()}: {error.strerror}; set XDG_CACHE_HOME to a folder of your own"
        ) from None


def _make_cache(name: str) -> None:
    """Make the folder of a library's builds. What is made is closed to others' writing, whatever the umask says."""
    root = cache_root()
    missing = [folder for folder in (root / name, root, *root.parents) if not folder.exists()]
    make_folder(root, name)
    for folder in missing:
        _close(folder)


def _close(path: Path) -> None:
    path.chmod(path.stat().st_mode & ~(stat.S_IWGRP | stat.S_IWOTH))


def _library(spec: BuildSpec) -> Path:
    return cache_root() / spec.name / cache_key(spec) / f"{spec.name}.so"


def _identity(command: list[str], variable: str) -> list[str]:
    version = _run([*command, "--version"])
    if version.returncode != 0:
        raise BuildError(f"{' '.join(command)} --version failed: {_tail(version.stdout, 3)}; mend or unset {variable}")
    return [*command, version.stdout]


def _build_aside(spec: BuildSpec, folder: Path) -> None:
    """Run ninja in a temporary folder beside `folder`, then rename it to `folder`. The lock must be held."""
    shutil.rmtree(folder, ignore_errors=True)
    for left_behind in folder.parent.glob(f"{folder.name}.*/"):  # by a build that was killed
        shutil.rmtree(left_behind, ignore_errors=True)
    aside = Path(tempfile.mkdtemp(prefix=f"{folder.name}.", dir=folder.parent))
    started = time.monotonic()
    print(
        f"stylegan: compiling {spec.name} ({len(spec.files)} files) into {folder}; this happens once ...",
        file=sys.stderr,
        flush=True,
    )
    try:
        import ninja

        (aside / "build.ninja").write_text(_ninja_file(spec))
        result = _run([str(Path(ninja.BIN_DIR) / _program("ninja")), "-C", str(aside), "-v"])
        if result.returncode != 0:
            log = folder.parent / f"{folder.name}.log"
            with open_below(folder.parent, log.name, "w") as file:
                file.write(result.stdout)
            raise BuildError(
                f"compiling {spec.name} failed: {_first_error(result.stdout)}; the whole log is in {log}; "
                "check that the compiler works, or choose another one with CXX"
            )
        for path in aside.glob("*.o"):
            path.unlink()
        for path in aside.iterdir():
            _close(path)
        aside.chmod(0o755)  # mkdtemp makes 0700; a cache that root fills is for all users
        aside.replace(folder)
        print(f"stylegan: {spec.name} compiled in {time.monotonic() - started:.1f} s", file=sys.stderr, flush=True)
    finally:
        shutil.rmtree(aside, ignore_errors=True)


def _ninja_file(spec: BuildSpec) -> str:
    include = [f"-I{path}" for path in spec.include_dirs]
    lines = [
        f"cxx = {_command(compiler())}",
        f"flags = {_command(['-fPIC', *spec.flags, *include])}",
        f"link_flags = {_command([*(f'-L{path}' for path in spec.library_dirs), *spec.link_flags])}",
        "rule compile",
        "  command = $cxx $flags $own -c $in -o $out",
        "rule link",
        "  command = $cxx -shared $in -o $out $link_flags",
    ]
    if spec.needs_nvcc:
        lines += [
            f"nvcc = {_command([str(nvcc())])}",
            f"cuda_flags = {_command(['-Xcompiler', '-fPIC', *spec.cuda_flags, *include])}",
            "rule compile_cuda",
            "  command = $nvcc $cuda_flags $own -c $in -o $out",
        ]
    objects = []
    for index, source in enumerate(spec.files):
        objects.append(f"{index}-{source.path.stem}{source.label}.o")
        rule = "compile_cuda" if source.cuda else "compile"
        lines += [
            f"build {objects[-1]}: {rule} {_escape_path(source.path.resolve())}",
            f"  own = {_command(source.flags)}",
        ]
    lines.append(f"build {spec.name}.so: link {' '.join(objects)}")
    return "\n".join(lines) + "\n"


def _command(words: Sequence[str]) -> str:
    return _escape(" ".join(map(_quote, words)))


def _run(command: Sequence[str]) -> subprocess.CompletedProcess[str]:
    # LC_ALL=C: the compiler's version text is part of the cache key and must not change with the user's language.
    environment = {**os.environ, "LC_ALL": "C"}
    return subprocess.run(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False
    )


def _program(name: str) -> str:
    return f"{name}.exe" if sys.platform == "win32" else name


def _quote(text: str) -> str:
    return f"'{text}'" if any(character in text for character in ' ()"$&;') else text


def _escape(text: str) -> str:
    return text.replace("$", "$$")


def _escape_path(path: Path) -> str:
    return _escape(str(path)).replace(" ", "$ ").replace(":", "$:")


def _first_error(log: str) -> str:
    """The first line that a compiler marks as an error, else the log's end."""
    for line in log.splitlines():
        if "error:" in line.lower():
            return line.strip()
    return _tail(log, 1)


def _tail(text: str, lines: int) -> str:
    return " / ".join(text.strip().splitlines()[-lines:])
