"""A method that logs another validation accuracy than its classifier has."""

from methods.base import Context
from tests.defects.planted import Planted


class Boasting(Planted):
    """strength: by how many points the logged robust accuracy is too high; too low where 100 % is nearer than that."""

    def log(self, context: Context, clean: float, robust: float) -> None:
        more = self.settings.strength / 100
        super().log(context, clean, robust + (more if robust + more <= 1 else -more))
