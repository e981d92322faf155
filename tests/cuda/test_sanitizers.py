"""The kernels under AddressSanitizer, UBSan and ThreadSanitizer, and whether these notice what is planted.

One call per kernel in float16 here. All dtypes and sizes: `python -m tests.cuda.test_sanitizers`, see README.md.
"""

import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.cuda.faults import FAULTS, KERNEL, plant
from tests.cuda.record import main as record
from tests.cuda.record import recorded
from tests.cuda.replaying import Outcome, build_replay, replay

ONE_TYPE = ("-DSTYLEGAN_HALF_ONLY",)


@pytest.mark.parametrize("sanitizer", ["asan", "tsan"])
def test_nothing_is_found(sanitizer: str, half_launches: Path, tmp_path: Path) -> None:
    outcome = replay(build_replay(tmp_path, sanitizer, flags=ONE_TYPE), half_launches)
    assert outcome.passed, outcome.text[-3000:]
    assert int(outcome.text.split()[0]) > 50  # launches


def test_every_planted_fault_is_found(recordings: Path, tmp_path: Path) -> None:
    launches = recorded(recordings, KERNEL, "f16", nhwc=False)

    def run(job: tuple[str, str]) -> Outcome:
        name, sanitizer = job
        folder = tmp_path / f"{name}-{sanitizer}"
        csrc = plant(FAULTS[name], folder)
        return replay(build_replay(folder, sanitizer, [KERNEL], csrc, ONE_TYPE), launches)

    jobs = [(name, sanitizer) for name, fault in FAULTS.items() for sanitizer in fault.caught]
    with ThreadPoolExecutor(2) as pool:
        for (name, sanitizer), outcome in zip(jobs, pool.map(run, jobs), strict=True):
            assert not outcome.passed, f"{name}: {sanitizer} found nothing"
            assert FAULTS[name].caught[sanitizer] in outcome.text, f"{name}: {sanitizer} said {outcome.text[-2000:]}"


def thorough() -> None:
    """All dtypes, formats and sizes under both sanitizers, in three orders of threads; takes many minutes."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        record(folder, thorough=True)
        for sanitizer in ("asan", "tsan"):
            program = build_replay(folder, sanitizer)
            for path in sorted(folder.glob("*.launches")):
                for order in ("forward", "reverse", "random:7"):
                    outcome = replay(program, path, EMULATION_ORDER=order)
                    print(sanitizer, path.stem, order, outcome.text.strip().splitlines()[-1], flush=True)
                    if not outcome.passed:
                        raise SystemExit(outcome.text)


if __name__ == "__main__":
    thorough()
