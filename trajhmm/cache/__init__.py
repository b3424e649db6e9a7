"""What was worked out before, kept by the content that it came from: never an error, and never another result.

A result stands under the SHA-256 of all it depends on: the data, the settings, and the code that works it out. What is
kept is plain JSON and arrays under a seal that only this user's trajhmm can make; an entry that is damaged, foreign or
forged is as none, and so is a folder that cannot be written.
"""

from trajhmm.cache.keeper import NO_CACHE, Cache, digest_of

__all__ = ["NO_CACHE", "Cache", "digest_of"]
