"""The root configurations with open places where a group of Hydra's puts one of a table's."""

from omegaconf import MISSING

from stylegan.training.config import ModelConfig, TrainConfig


def train_schema() -> TrainConfig:
    """Of train.py: `model/G`, `model/D` and `loss` are chosen."""
    return TrainConfig(model=ModelConfig(G=MISSING, D=MISSING), loss=MISSING)
