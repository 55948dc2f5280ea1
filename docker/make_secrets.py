"""Create the secrets that a deployment does not have yet, in a volume that only its containers mount."""

import os
import secrets
import sys
from pathlib import Path

folder = Path(sys.argv[1])
for name in sys.argv[2:]:
    place = folder / name
    if place.exists():
        continue
    new = place.with_suffix(".new")
    # All users of the volume may read it: Redis runs as another user than the apps.
    with os.fdopen(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o444), "w", encoding="utf-8") as file:
        file.write(secrets.token_hex(32))
    new.rename(place)
    print(f"made {place}")
