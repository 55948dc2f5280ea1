"""Create the secrets that a deployment does not have yet, in a volume that only its containers mount."""

import os
import secrets
import sys
from pathlib import Path


def main(folder: Path, names: list[str]) -> str | None:
    """Create what is missing. Return what is wrong, or None."""
    for name in names:
        place = folder / name
        try:
            if place.exists():
                if not place.read_bytes().strip():
                    return f"{name} in the folder of SECRETS is empty"
                continue
            new = place.with_suffix(".new")
            # All users of the volume may read it: Redis runs as another user than the apps.
            with os.fdopen(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o444), "w", encoding="utf-8") as file:
                file.write(secrets.token_hex(32))
            new.rename(place)
        except OSError as error:
            return (
                f"{name} in the folder of SECRETS can neither be read nor made: {error.strerror}; the containers run as "
                f"user {os.getuid()}: put {' and '.join(names)} there, readable for this user"
            )
        print(f"made {place}")
    return None


if __name__ == "__main__":
    problem = main(Path(sys.argv[1]), sys.argv[2:])
    sys.exit(f"error: {problem}" if problem else 0)
