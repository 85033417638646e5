"""Recipes: the ways to train a bundle, behind one protocol.

A recipe is added here: a line in `_RECIPES`, and a module with a class derived from
`ser_core.models.recipes.base.Recipe`. The class declares its options; `ser train` takes them
from there. `ser_core.training.train` runs a recipe and writes the bundle.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ser_core.models.recipes.base import Recipe

# The name of a recipe, and where its class is found.
_RECIPES = {
    "calls": "ser_core.models.recipes.calls.recipe:CallsRecipe",
    "transfer": "ser_core.models.recipes.transfer.recipe:TransferRecipe",
    "seed": "ser_core.models.recipes.seed:SeedRecipe",
}
DEFAULT = "calls"


def recipe_names() -> tuple[str, ...]:
    """Names of the recipes."""
    return tuple(_RECIPES)


def get(name: str) -> type[Recipe]:
    """The class of a recipe.

    Parameters
    ----------
    name : str
        One of `recipe_names()`.
    """
    module, _, recipe = _RECIPES[name].partition(":")
    return getattr(importlib.import_module(module), recipe)
