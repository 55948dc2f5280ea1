"""Makes the secrets that a deployment does not have yet, once, in a volume that only its containers see."""

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
    # Other users read it too: Redis is not the user that the apps are.
    with os.fdopen(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o444), "w") as file:
        file.write(secrets.token_hex(32))
    new.rename(place)
    print(f"made {place}")
