from actions import numbers

__all__ = ["numbers"]
