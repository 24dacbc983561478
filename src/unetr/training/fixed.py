"""What of a recipe stays as it was when a run began."""

import hashlib
import json

from unetr.training.recipe import Recipe

SECTIONS = ("data", "network", "sampling", "augmentation", "loss", "training")
_MAY_CHANGE = ("max_steps", "max_minutes", "log_steps", "save_steps", "save_minutes")


def is_fixed(key: str) -> bool:
    """Whether `section.field` may not change when a run is continued."""
    section, _, field = key.partition(".")
    return section in SECTIONS and field not in _MAY_CHANGE


def fixed_digest(recipe: Recipe) -> str:
    """Names what may not change of a recipe, but for the seed, which folds need not share."""
    content = {
        section: {
            field: value
            for field, value in getattr(recipe, section).model_dump(mode="json").items()
            if is_fixed(f"{section}.{field}") and field != "seed"
        }
        for section in SECTIONS
    }
    return hashlib.blake2b(json.dumps(content).encode(), digest_size=12).hexdigest()
