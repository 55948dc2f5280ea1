"""The only place that touches what other packages do not call public; each module checks what it needs when imported."""
