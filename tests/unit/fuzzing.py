"""What the programs `fuzz_*.py` have in common: odd values, changes to bytes and to nested values, and the judge.

Each is run as `python -m tests.unit.fuzz_NAME --count N --seed S`, where case i is a function of S and i. A case may succeed or
end in a `UserError`; a traceback, more than `SECONDS`, or more than `MEMORY` is a failure. One JSON object is printed.
"""

import argparse
import json
import random
import resource
import signal
import sys
import tempfile
import traceback
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from types import FrameType
from typing import Any

from stylegan.errors import UserError

SECONDS = 30
MEMORY = 2**31  # bytes beyond what the process needs before the first case
NUMBERS = (0, 1, -1, 2, 3, 7, 255, 2**16, 2**17, 2**20, 2**24, 2**31, 2**32, 2**40, 2**63, 2**64, 10**30, 10**400)
NUMBERS += (0.0, 0.5, -0.5, 1e-300, 5e-324, 1e300, -1e300, float("inf"), float("-inf"), float("nan"))
OTHERS = (
    None,
    True,
    False,
    "",
    "x",
    "8",
    "\x1b[31m\nerror: forged",
    "\ud800",
    "ü" * 3,
    "../../x",
    "a\0b",
    "x" * 100_000,
)


class TooSlowError(BaseException):
    """A case took more than `SECONDS`; not to be caught by what is tested."""


def odd(rng: random.Random) -> Any:
    """A value that a file should not hold where this one is put."""
    match rng.randrange(8):
        case 0 | 1 | 2:
            return rng.choice(NUMBERS)
        case 3:
            return rng.randrange(-100, 100)
        case 4:
            return rng.choice(OTHERS)
        case 5:
            return [odd(rng) for _ in range(rng.randrange(4))]
        case 6:
            return {str(odd(rng))[:20]: odd(rng) for _ in range(rng.randrange(3))}
        case _:
            deep: Any = rng.choice(NUMBERS)
            for _ in range(rng.choice([3, 30, 300])):
                deep = [deep] if rng.random() < 0.5 else {"a": deep}
            return deep


def change(value: Any, rng: random.Random, odd_value: Callable[[random.Random], Any] = odd) -> None:
    """One change somewhere in nested dictionaries and lists: another value, an item gone, new, or exchanged for another."""
    containers, level = list[Any](), [value]
    while level:
        containers += level
        inner = [item for outer in level for item in (outer.values() if isinstance(outer, dict) else outer)]
        level = [item for item in inner if isinstance(item, dict | list) and item]
    found = rng.choice(containers)
    keys = list(found) if isinstance(found, dict) else list(range(len(found)))
    key, other = rng.choice(keys), rng.choice(keys)
    match rng.randrange(6):
        case 0:
            found.pop(key)
        case 1:
            found[key], found[other] = found[other], found[key]
        case 2 if isinstance(found, dict):
            found[str(odd(rng))[:200]] = found[key]
        case _:
            number = isinstance(found[key], int | float) and not isinstance(found[key], bool)
            factors = (2, -1, 0.5, 1000, 2**31)
            found[key] = found[key] * rng.choice(factors) if number and rng.random() < 0.3 else odd_value(rng)


def flip(content: bytes, rng: random.Random, within: range | None = None) -> bytes:
    """One to four bits or bytes changed, a piece cut out, repeated or overwritten, or the end cut off."""
    data, within = bytearray(content), within or range(len(content))
    for _ in range(rng.choice([1, 1, 1, 2, 4])):
        if not data:
            break
        at, length = min(rng.choice(within), len(data) - 1), rng.randint(1, 40)
        match rng.randrange(7):
            case 0 | 1 | 2:
                data[at] ^= 1 << rng.randrange(8)
            case 3:
                data[at] = rng.choice([0, 1, 0x7F, 0x80, 0xFF, rng.randrange(256)])
            case 4:
                del data[at : at + length]
            case 5:
                data[at:at] = data[at : at + length]
            case _:
                data = data[:at] if rng.random() < 0.3 else data[: at + length] + data[at : at + length]
    return bytes(data)


def judge(name: str, prepare: Callable[[Path], Callable[[random.Random], Callable[[], str | None]]]) -> None:
    """Run the cases that the command line asks for, print what came of them, and exit with 1 if any failed.

    Args:
        name: Of the program.
        prepare: Makes genuine files in a folder, and returns what makes, of a generator of random numbers, one odd case: what
            is called is measured, and what it returns is counted (None as "read").
    """
    parser = argparse.ArgumentParser(prog=f"python -m tests.unit.{name}")
    parser.add_argument("--count", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", type=int, help="run this case alone, and show its traceback")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix=name) as folder:
        make = prepare(Path(folder))
        chosen = range(arguments.count) if arguments.only is None else [arguments.only]
        result = _run(make, arguments.seed, chosen, show=arguments.only is not None)
    print(json.dumps(result))
    sys.exit(bool(result["failures"]))


def _run(
    make: Callable[[random.Random], Callable[[], str | None]], seed: int, cases: Sequence[int], *, show: bool
) -> dict[str, Any]:
    outcomes, failures = Counter[str](), list[str]()
    signal.signal(signal.SIGALRM, _too_slow)
    before = _peak()
    for i in cases:
        call = make(random.Random(f"{seed}/{i}"))
        signal.alarm(SECONDS)
        try:
            outcomes[call() or "read"] += 1
        except UserError as error:
            outcomes["refused"] += 1
            if show:
                traceback.print_exc()
            if "\n" in str(error) or not str(error).isprintable() or len(str(error)) > 2000:
                failures.append(f"case {i}: a message of {len(str(error))} characters: {ascii(str(error))[:300]}")
        except BaseException:  # what the test is about: nothing else may leave a reader
            failures.append(f"case {i}: {traceback.format_exc()[-1500:]}")
        finally:
            signal.alarm(0)
        if _peak() > before + MEMORY:
            failures.append(f"case {i}: took {_peak() - before} bytes")
            before = _peak()
    kinds = Counter(failure.strip().splitlines()[-1][:100] for failure in failures)
    return {**outcomes, "failures": failures[:5], "failed": len(failures), "kinds": dict(kinds.most_common(20))}


def _too_slow(signum: int, frame: FrameType | None) -> None:
    raise TooSlowError(f"more than {SECONDS} seconds")


def _peak() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
