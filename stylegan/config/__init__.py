"""The typed configurations as Hydra sees them. Only this package and the entry scripts import Hydra or OmegaConf."""
