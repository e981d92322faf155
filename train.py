"""Train a style-based GAN: `python train.py --help`."""

from pathlib import Path

from omegaconf import DictConfig

from stylegan.assemble import run_training
from stylegan.config.entry import run_entry
from stylegan.config.groups import train_script
from stylegan.config.resume import train_config
from stylegan.signals import StopRequest


def run(composed: DictConfig) -> None:
    """Start a run, or go on with one."""
    run_training(*train_config(composed), StopRequest())


def main() -> None:
    """What the command does: compose, run, turn the user's mistakes into one message and exit code 2."""
    run_entry(run, train_script, Path(__file__).with_name("configs"))


if __name__ == "__main__":
    main()
