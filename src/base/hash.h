/* Hashes and checksums. None of these is a signature: see http/signature.h for HMAC. */
#ifndef CUPEL_BASE_HASH_H
#define CUPEL_BASE_HASH_H

#include <stddef.h>
#include <stdint.h>

#include "base/str.h"

/* CRC32C (Castagnoli, RFC 3720 B.4), SSE4.2 where the processor has it. `crc` is the value so far, 0 at the start. */
uint32_t crc32c(uint32_t crc, const void *bytes, size_t n);

struct hash128 {
    uint64_t lo, hi;
};

/* Keyed 128-bit hash (XXH3 with a secret seed): equal inputs under one seed are equal outputs; without the seed collisions cannot be aimed at. */
struct hash128 hash128_keyed(uint64_t seed, const void *bytes, size_t n);
/* XXH3-64 without a secret: for maps and partition choice. Stable across versions and machines (it decides a key's partition on disk). */
uint64_t hash64(const void *bytes, size_t n);
static inline uint64_t hash64_str(struct str s) { return hash64(s.p, s.n); }
static inline int hash128_eq(struct hash128 a, struct hash128 b) { return a.lo == b.lo && a.hi == b.hi; }

#endif
