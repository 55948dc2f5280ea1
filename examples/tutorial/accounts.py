# accounts.py
import asyncio
import hashlib
import hmac
import os


def _hash(password: str, salt: bytes) -> str:
    return salt.hex() + hashlib.scrypt(password.encode(), salt=salt, n=2**14, r=8, p=1).hex()


async def hash_of(password: str) -> str:
    return await asyncio.to_thread(_hash, password, os.urandom(16))


async def is_password(password: str, stored: str) -> bool:
    again = await asyncio.to_thread(_hash, password, bytes.fromhex(stored[:32]))
    return hmac.compare_digest(again, stored)
