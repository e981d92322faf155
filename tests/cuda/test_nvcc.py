"""nvcc and ptxas accept the kernels, and nothing spills. One architecture here; all seven in `nvcc.main`."""

from tests.cuda.building import KERNELS, need_nvcc
from tests.cuda.nvcc import CI_ARCHITECTURE, all_resources, table


def test_no_kernel_uses_local_memory() -> None:
    need_nvcc()
    rows = all_resources([CI_ARCHITECTURE])
    assert {name for name in KERNELS if any(name in row.kernel for row in rows)} == set(KERNELS)
    assert not [row for row in rows if row.spills]
    assert all(0 < row.registers <= 255 and row.shared <= 48 << 10 for row in rows)
    assert table(rows).count("\n") == len(rows) + 2
