"""The only code that uses private API of other packages; each module checks what it needs when it is imported."""
