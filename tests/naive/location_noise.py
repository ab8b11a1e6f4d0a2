"""The location hash in plain integers."""


def location_hash(index, axis, hash_bits=24):
    x = (index * 3 + axis + 1) * 0x9E3779B97F4A7C15 % 2**64
    x ^= x >> 31
    x = x * 0xBF58476D1CE4E5B9 % 2**64
    x ^= x >> 29
    return x % 2**hash_bits
