from actions import loans

__all__ = ["loans"]
