"""One call of every kernel, for compute-sanitizer: `compute-sanitizer python -m tests.gpu.sanitized`.

Without torch's cache of memory each tensor is an allocation of its own, so that what goes past one is found.
"""

import os
import sys

os.environ["PYTORCH_NO_CUDA_MEMORY_CACHING"] = "1"

import torch

from stylegan.ops.backend import Backend, activate
from tests.cuda.calls import calls
from tests.gpu.placing import placed


def main(device_name: str = "cuda") -> None:
    """Run them all, and say how many there were."""
    device = torch.device(device_name)
    activate(Backend.compiled, device)
    count = 0
    for dtype in (torch.float32, torch.float16):
        for nhwc in (False, True):
            for call in calls(dtype, nhwc, thorough=False):
                placed(call, device).run()
                count += 1
    if device.type == "cuda":
        torch.cuda.synchronize()
    print(f"ran {count} calls")


if __name__ == "__main__":
    main(*sys.argv[1:])
