"""The configurations of trusted packages on Hydra's search path, so that ``model=`` and others find them."""

from hydra.core.config_search_path import ConfigSearchPath
from hydra.core.plugins import Plugins
from hydra.plugins.search_path_plugin import SearchPathPlugin

from bua.engine.trust import configuration_folders


class TrustedConfigurations(SearchPathPlugin):
    """Appends the folder ``conf`` of every trusted package; configurations of bua come first."""

    def manipulate_search_path(self, search_path: ConfigSearchPath) -> None:
        """Append the folders."""
        for folder in configuration_folders():
            search_path.append(folder.parent.name, f"file://{folder}")


def register_search_path() -> None:
    """Let Hydra find the configurations of trusted packages in this process."""
    Plugins.instance().register(TrustedConfigurations)
