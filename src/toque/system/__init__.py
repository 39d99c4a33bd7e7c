"""An app compiled: everything that is decided once, before the first call."""

from toque.system.system import System, Tables, compile_system

__all__ = ["System", "Tables", "compile_system"]
