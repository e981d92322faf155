"""Train a style-based GAN: `python train.py --help`."""

from pathlib import Path

from omegaconf import DictConfig

from stylegan.assemble import training_job
from stylegan.config.entry import run_entry
from stylegan.config.resume import train_config
from stylegan.training.config import TrainConfig
from stylegan.training.loop import train
from stylegan.training.signals import StopRequest


def run(composed: DictConfig) -> None:
    """Start a run, or go on with one."""
    config, resuming = train_config(composed)
    run_dir, kimg = config.run_dir, config.training.kimg
    with training_job(config, resuming) as job:
        if job.state.nimg >= kimg * 1000:
            job.logger.message(f"{run_dir} is finished at {kimg:g} kimg; give a larger training.kimg= to go on")
            return
        with StopRequest() as stop:
            finished = train(job, stop)
        again = (
            ""
            if finished
            else f"stopped at {job.state.nimg / 1000:.3f} kimg; `python train.py run_dir={run_dir}` goes on. "
        )
        job.logger.message(
            f"{again}Look at {run_dir}: fakes-*.png (reals.png), `tensorboard --logdir {run_dir}`, "
            f"`python generate.py network={run_dir} seeds=0-31`"
        )


def main() -> None:
    """What the command does: compose, run, turn the user's mistakes into one message and exit code 2."""
    run_entry(run, TrainConfig, Path(__file__).with_name("configs"), "train")


if __name__ == "__main__":
    main()
